"""Lines that say of pictures, by their names, what is in them.

- `1.jpg#0<TAB>text`, as Flickr8k's own files; `1.jpg#zhc#0 text`, as Flickr8k-CN's;
- `1.jpg<TAB>text`, `1.jpg text`, `1.jpg,text`; without a suffix before a tab alone;
- a table with a head, `image,caption`, `image|comment_number|comment`, with fields in quotes where need be.
"""

import csv
import io
import re
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

from data_pipelines.corpus.reading import encodings
from data_pipelines.corpus.reading.settings import Reading
from data_pipelines.errors import DataError
from data_pipelines.images.decoding import SUFFIXES
from data_pipelines.images.picture_tables import IMAGES

CAPTIONS = ("caption", "captions", "text", "comment", "sentence", "title")
BAD_BYTES = "bytes of captions that are no text"
_NAMES = (*IMAGES, "image_name", "image_id")
_SUFFIX = "|".join(re.escape(suffix) for suffix in sorted(SUFFIXES, key=len, reverse=True))
# A name goes as far as the first suffix of a picture that something else follows.
_LINE = re.compile(rf"(?P<name>[^\t]*?(?:{_SUFFIX}))(?:#[^\s,]*)?(?:[ \t,]+(?P<text>.*))?", re.IGNORECASE)
_DELIMITERS = ",\t|"


class CaptionLine(NamedTuple):
    """What a picture is called, and what is said of it."""

    name: str
    text: str


def text_of(data: bytes, skipped: Counter[str]) -> str | None:
    """Bytes as text, in UTF-8, UTF-16 with a mark, or what they look like; None where they are none.

    Few bad bytes become U+FFFD, and are counted.
    """
    found = encodings.decode(data, Reading().max_bad)
    if found is None:
        return None
    if found[1]:
        skipped[BAD_BYTES] += found[1]
    return found[0]


def parsed(content: str) -> Iterator[CaptionLine | None]:
    """Of every line that is not blank its caption; None for one that names no picture.

    Raises:
      DataError: a table breaks its own rules.
    """
    head = content.lstrip().partition("\n")[0]
    if columns := _columns(head):
        yield from _of_table(content.lstrip(), *columns)
        return
    for line in content.split("\n"):
        if line.strip():
            yield _of_line(line.strip())


def _of_line(line: str) -> CaptionLine | None:
    if found := _LINE.fullmatch(line):
        return CaptionLine(found["name"].strip(), (found["text"] or "").strip())
    name, tab, text = line.partition("\t")
    name = re.sub(r"#\S*$", "", name.strip())
    return CaptionLine(name, text.strip()) if tab and name else None


def _columns(head: str) -> tuple[str, int, int] | None:
    """Delimiter, column of names and column of captions of a table's head; None where it is no such head."""
    for delimiter in _DELIMITERS:
        names = [name.strip().strip('"').lower() for name in head.split(delimiter)]
        name = next((names.index(one) for one in _NAMES if one in names), None)
        text = next((names.index(one) for one in CAPTIONS if one in names), None)
        if name is not None and text is not None:
            return delimiter, name, text
    return None


def _of_table(content: str, delimiter: str, name: int, text: int) -> Iterator[CaptionLine | None]:
    rows = csv.reader(io.StringIO(content, newline=""), delimiter=delimiter, skipinitialspace=True)
    try:
        next(rows)
        for row in rows:
            if not any(field.strip() for field in row):
                continue
            full = len(row) > max(name, text) and row[name].strip()
            yield CaptionLine(row[name].strip(), row[text].strip()) if full else None
    except csv.Error as error:
        raise DataError(f"line {rows.line_num} is no row of a table: {error}") from None
