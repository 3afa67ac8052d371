"""CSV and Parquet: a row is a document."""

import csv
import io
import shutil
import tempfile
from collections.abc import Iterator

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from data_pipelines.corpus.reading import encodings, lines
from data_pipelines.corpus.reading.acceptance import accepted
from data_pipelines.corpus.reading.compression import BrokenFileError
from data_pipelines.corpus.reading.place import Place, Record

_BATCH = 1000  # rows


def read_csv(stream: io.BufferedReader, place: Place) -> Iterator[Record]:
    """The column `text_field` by the names in the first row; a record is named by its last line."""
    settings = place.settings
    csv.field_size_limit(settings.max_document_bytes)  # for the process; a quote that never ends stops there
    reader = csv.reader(_csv_lines(stream, place))
    header: list[str] = next(reader, [])
    wanted = [header.index(name) if name is not None and name in header else None for name in _columns(place)]
    if wanted[0] is None:
        if header:
            place.reject(1, f"no column {settings.text_field!r}", ",".join(header))
        return
    while True:
        try:
            row = next(reader, None)
        except csv.Error as error:
            place.reject(reader.line_num, f"malformed CSV: {error}")
            continue
        if row is None:
            return
        if not row:  # a blank line
            continue
        text, url, source = (row[i] if i is not None and i < len(row) else None for i in wanted)
        if text is None:
            place.reject(reader.line_num, f"no text in column {settings.text_field!r}", ",".join(row))
            continue
        yield Record(reader.line_num, text, url, source=source)


def _csv_lines(stream: io.BufferedReader, place: Place) -> Iterator[str]:
    for _, _, block in lines.blocks(stream, place):
        block, bad = encodings.to_utf8(block, place.settings.max_bad)
        place.note("bad bytes", bad)
        yield from io.StringIO(block.decode("utf-8", "replace"), newline="")


def read_parquet(stream: io.BufferedReader, place: Place) -> Iterator[pl.DataFrame]:
    """The column `text_field`, in frames.SCHEMA, some rows at a time. Rows count from 1."""
    with tempfile.TemporaryFile() as spool:
        seekable = _seekable(stream)
        if not seekable:  # a Parquet file is read from its end
            shutil.copyfileobj(stream, spool)
            spool.seek(0)
        try:
            yield from _parquet(pq.ParquetFile(stream if seekable else spool), place)
        except (pa.ArrowException, ValueError) as error:  # the latter for names that are not UTF-8
            raise BrokenFileError(f"broken Parquet file: {error}".splitlines()[0]) from error


def _seekable(stream: io.BufferedReader) -> bool:
    try:
        return stream.seekable()
    except AttributeError:  # what a member of an archive answers
        return False


def _parquet(file: pq.ParquetFile, place: Place) -> Iterator[pl.DataFrame]:
    schema = file.schema_arrow
    names = dict(zip(("text", "url", "source"), _columns(place), strict=True))
    texts = {field.name for field in schema if _is_text(field.type)}
    there = {role: name for role, name in names.items() if name in texts}
    if "text" not in there:
        place.reject(1, f"no column {names['text']!r} of strings", ", ".join(schema.names))
        return
    row = 1
    for batch in file.iter_batches(_BATCH, columns=[*there.values()], use_threads=False):
        batch.validate(full=True)  # polars takes it on trust that strings are UTF-8
        found = {role: pl.from_arrow(batch[name]).cast(pl.String) for role, name in there.items()}
        absent = [pl.lit(None, pl.String).alias(role) for role in names if role not in there]
        frame = pl.DataFrame(found).with_columns(absent).with_row_index("row", row)
        for (at,) in frame.filter(pl.col("text").is_null()).select("row").iter_rows():
            place.reject(at, f"no text in column {names['text']!r}")
        frame = frame.filter(pl.col("text").is_not_null()).select(
            place.ids(0, pl.col("row")),
            pl.col("source").replace("", None).fill_null(place.source),
            pl.col("url").replace("", None),
            "text",
        )
        yield accepted(frame, place.settings, place.quarantine)
        row += len(batch)


def _is_text(kind: pa.DataType) -> bool:
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    return pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)


def _columns(place: Place) -> tuple[str, str, str | None]:
    return place.settings.text_field, place.settings.url_field, place.settings.source_field
