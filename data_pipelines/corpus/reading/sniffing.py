"""What a file without a suffix is, by its beginning."""

import io
import re

from data_pipelines.corpus.reading import encodings
from data_pipelines.corpus.reading.place import Place

HEAD = 1 << 16  # bytes
_JSON = re.compile(rb"(?:\xef\xbb\xbf)?\s*[\[{]\s*[\"{\[\]}]")
_HTML = re.compile(rb"(?:\xef\xbb\xbf)?\s*<(?:!doctype\s+html|html)\b", re.IGNORECASE)


def kind(stream: io.BufferedReader, place: Place) -> str | None:
    """A kind of `inputs.KINDS`; None for what is no text, which is counted."""
    head = stream.peek(HEAD)[:HEAD]
    if head.startswith(b"WARC/"):
        return "warc"
    if encodings.is_binary(head, place.settings.max_bad):
        place.note("files without a suffix that are no text", 1)
        return None
    head = encodings.as_utf8(head)
    if _JSON.match(head):
        return "json"
    return "html" if _HTML.match(head) else "text"
