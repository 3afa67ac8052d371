"""Plain text: a file, a paragraph or a line is a document."""

import io
from collections.abc import Iterator

from data_pipelines.corpus.reading import encodings, lines
from data_pipelines.corpus.reading.place import Place, Record

_NO_ENCODING = "not text: no known encoding"


def read_whole(stream: io.BufferedReader, place: Place, html: bool = False) -> Iterator[Record]:
    """The file as one document; of one that breaks off, what came before that."""
    limit = place.settings.max_document_bytes
    data, error = lines.read(stream, limit + 1)
    if len(data) > limit:
        place.too_long(1, data)
        return
    if data and (text := decoded(data, place, 1) if html else _decoded_whole(data, place)):
        yield Record(None, text, html=html)
    if error:
        raise error


def read_lines(
    stream: io.BufferedReader, place: Place, begin: int = 0, end: int | None = None
) -> Iterator[Record]:
    """Every line that is not blank, of those that begin in bytes [begin, end)."""
    for number, _, block in lines.blocks(stream, place, begin, end):
        for at, line in enumerate(_decoded_lines(block, place), number):
            if line.strip():
                yield Record(place.line(begin, at), line)


def read_paragraphs(stream: io.BufferedReader, place: Place) -> Iterator[Record]:
    """Runs of lines that are not blank, each named by its first."""
    limit = place.settings.max_document_bytes
    first, body, size = 1, [], 0
    for number, _, block in lines.blocks(stream, place):
        for at, line in enumerate(_decoded_lines(block, place), number):
            if line.strip():
                first = first if size else at
                size += len(line.encode()) + 1
                if size <= limit:
                    body.append(line.rstrip())
            elif size:
                yield from _paragraph(first, body, size, place)
                body, size = [], 0
    if size:
        yield from _paragraph(first, body, size, place)


def _paragraph(first: int, body: list[str], size: int, place: Place) -> Iterator[Record]:
    if size > place.settings.max_document_bytes:
        place.too_long(first, body[0] if body else "")
    else:
        yield Record(first, "\n".join(body))


def _decoded_lines(block: bytes, place: Place) -> list[str]:
    block, bad = encodings.to_utf8(block, place.settings.max_bad)
    place.note("bad bytes", bad)
    return block.decode("utf-8", "replace").removesuffix("\n").split("\n")


def _decoded_whole(data: bytes, place: Place) -> str | None:
    """The text of a file; where it is in no one encoding, of its lines that are in some."""
    max_bad = place.settings.max_bad
    if (found := encodings.decode(data, max_bad)) is None and not encodings.is_binary(data, max_bad):
        lines_of_it = data.split(b"\n")
        # A mark of UTF-16 in the middle of a file is none.
        each = [None if encodings.utf16(line) else encodings.decode(line, max_bad) for line in lines_of_it]
        bad = [number for number, line in enumerate(each) if line is None]
        if 2 * len(bad) <= len(each):
            for number in bad:
                place.reject(number + 1, _NO_ENCODING, lines_of_it[number])
            kept = [line for line in each if line is not None]
            found = "\n".join(text for text, _ in kept), sum(lost for _, lost in kept)
    return _noted(found, data, place, 1)


def decoded(data: bytes, place: Place, where: str | int, declared: str | None = None) -> str | None:
    """The text of `data`, or None with an entry in the quarantine."""
    return _noted(encodings.decode(data, place.settings.max_bad, declared), data, place, where)


def _noted(found: tuple[str, int] | None, data: bytes, place: Place, where: str | int) -> str | None:
    if found is None:
        place.reject(where, _NO_ENCODING, data)
        return None
    place.note("bad bytes", found[1])
    return found[0]
