"""JSON lines: whole blocks by polars' parser, line by line only those in which something may be wrong."""

import functools
import io
import json
import re
from collections.abc import Iterator
from typing import Any

import polars as pl

from data_pipelines.corpus.reading import encodings
from data_pipelines.corpus.reading.acceptance import accepted
from data_pipelines.corpus.reading.lines import blocks
from data_pipelines.corpus.reading.place import Place
from data_pipelines.text import json_line
from data_pipelines.text.documents import is_encodable

_FIELDS = pl.Schema({"line": pl.Int64, "text": pl.String, "url": pl.String, "source": pl.String})
# By a fixed beginning each, which is quick. Control characters of JSON are escaped or in U+0080 to U+009F.
_ESCAPED = re.compile(rb"\\u(?:00|[dD][89a-fA-F])")
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
_C1 = re.compile(rb"\xc2[\x80-\x9f]")


def read(
    stream: io.BufferedReader, place: Place, begin: int = 0, end: int | None = None
) -> Iterator[pl.DataFrame]:
    """The documents of the lines that begin in bytes [begin, end), in frames.SCHEMA, a table per block."""
    for number, count, block in blocks(stream, place, begin, end):
        escaped = _ESCAPED.search(block) is not None
        found = _columnar(block, count, escaped, place)
        if found is None:
            block, bad = encodings.to_utf8(block, place.settings.max_bad)
            place.note("bad bytes", bad)
            found = _columnar(block, count, escaped, place)
        if found is None:
            found = _one_by_one(block, place, number)
        frame = found.select(
            place.ids(begin, pl.col("line") + number),
            pl.col("source").replace("", None).fill_null(place.source),
            pl.col("url").replace("", None),
            "text",
        )
        maybe_bad = (
            escaped or _C1.search(block) is not None or frame["text"].str.contains("�", literal=True).any()
        )
        yield accepted(frame, place.settings, place.quarantine, maybe_bad)


def _columnar(block: bytes, count: int, escaped: bool, place: Place) -> pl.DataFrame | None:
    """The lines in _FIELDS, or None when one of them is not, or may not be, a clean document.

    polars takes half a surrogate pair for U+0000 and a number for a string, and leaves out blank lines.
    """
    settings = place.settings
    if (escaped and _SURROGATE.search(block)) or _no_string(settings.text_field).search(block):
        return None
    fields = {"text": settings.text_field, "url": settings.url_field, "source": settings.source_field}
    try:
        found = pl.read_ndjson(block, schema={name: pl.String for name in fields.values() if name})
    except pl.exceptions.PolarsError:
        return None
    if len(found) != count or found[settings.text_field].null_count():
        return None
    return found.select(
        pl.int_range(len(found), dtype=pl.Int64).alias("line"),
        *((pl.col(name) if name else pl.lit(None, pl.String)).alias(field) for field, name in fields.items()),
    )


@functools.cache
def _no_string(field: str) -> re.Pattern[bytes]:
    """Finds the field with a value that is no string. Inside a string the key's quotes would be escaped."""
    return re.compile(re.escape(json.dumps(field, ensure_ascii=False).encode()) + rb"\s*:\s*[^\s\"]")


def _one_by_one(block: bytes, place: Place, number: int) -> pl.DataFrame:
    rows = []
    for line, raw in enumerate(block.split(b"\n")):
        if not raw.strip():
            continue
        try:
            record = json_line.loads(raw.decode("utf-8", "replace"))
        except ValueError as error:
            place.reject(number + line, str(error), raw)
            continue
        if row := row_of(record, place, number + line, raw):
            rows.append((line, *row))
    return pl.DataFrame(rows, schema=_FIELDS, orient="row")


def row_of(
    record: Any, place: Place, where: int, sample: bytes | str
) -> tuple[str, str | None, str | None] | None:
    """(text, url, source) of a value; one that has no text goes to the quarantine."""
    settings = place.settings
    text = record.get(settings.text_field) if isinstance(record, dict) else None
    if not isinstance(text, str):
        fields = f": it has {', '.join(record)}" if isinstance(record, dict) and record else ""
        place.reject(where, f"no text in field {settings.text_field!r}{fields}", sample)
        return None
    row = text, _string(record.get(settings.url_field)), _string(record.get(settings.source_field))
    if any(value is not None and not is_encodable(value) for value in row):
        place.reject(where, "lone surrogate", sample)
        return None
    return row


def _string(value: object) -> str | None:
    """As polars reads a value of another type into a column of strings."""
    return value if value is None or isinstance(value, str) else json.dumps(value, ensure_ascii=False)
