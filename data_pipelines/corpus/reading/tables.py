"""CSV and Parquet: a row is a document."""

import csv
import io
import shutil
import tempfile
from collections.abc import Iterator
from typing import IO

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from data_pipelines.corpus.reading import encodings, lines
from data_pipelines.corpus.reading.acceptance import accepted
from data_pipelines.corpus.reading.compression import BrokenFileError, seekable
from data_pipelines.corpus.reading.place import Place, Record

_BATCH = 1000  # rows
_OPEN = "a quote that is not closed"


def read_csv(stream: io.BufferedReader, place: Place) -> Iterator[Record]:
    """The column `text_field` by the names in the first row; a record is named by its last line.

    A line that opens a quote which never closes, or closes only in a later record, goes to the quarantine
    alone; the lines behind it are read as if it were not there.
    """
    settings = place.settings
    csv.field_size_limit(settings.max_document_bytes)  # for the process; a quote that never ends stops there
    source = _Lines(_csv_lines(stream, place))
    header: list[str] = next(csv.reader(source.given()), [])
    wanted = [header.index(name) if name is not None and name in header else None for name in _columns(place)]
    if wanted[0] is None:
        if header:
            place.reject(1, f"no column {settings.text_field!r}", ",".join(header))
        return
    reader = csv.reader(source.given(), strict=True)
    while True:
        source.next_record()
        problem = ""
        try:
            row = next(reader, None)
        except csv.Error as error:
            row, problem = _careless(source, len(header), str(error))
            if problem == _OPEN:
                first = source.record[0]
                place.reject(source.number - len(source.record) + 1, problem, first)
                if not source.again(1, 16 * settings.max_document_bytes):
                    place.reject(source.number, "too many quotes that are not closed: the rest is not read")
                    return
            elif problem:
                place.reject(source.number, problem, "".join(source.record))
            reader = csv.reader(source.given(), strict=True)
        if problem:
            continue
        if row is None:
            return
        if row:  # no blank line
            text, url, origin = (row[i] if i is not None and i < len(row) else None for i in wanted)
            if text is None:
                place.reject(source.number, f"no text in column {settings.text_field!r}", ",".join(row))
            else:
                yield Record(source.number, text, url, source=origin)


def _careless(source: "_Lines", width: int, error: str) -> tuple[list[str] | None, str]:
    """(row, what is wrong with it or "") of the record at which a strict reader stopped.

    Careless quotes inside a quoted field are read as spreadsheets read them, unless a quote of the first line
    is closed by another record's, or by none: then the lines behind are rows of the table by themselves.
    """
    row = None
    if "unexpected end" not in error:
        source.again(0)
        try:
            row = next(csv.reader(source.given()), None)
        except csv.Error as worse:
            if len(source.record) == 1:
                return None, f"malformed CSV: {worse}"
        else:
            widths = {len(next(csv.reader([line]), [])) for line in source.record[1:]}
            if not widths or (width > 1 and width not in widths):
                return row, ""
    return None, _OPEN


class _Lines:
    """Lines for csv.reader; record: those of the record that is being read."""

    def __init__(self, lines: Iterator[str]):
        self._lines, self._back = lines, list[str]()  # the latter's last is the next
        self._before = self._again = 0
        self.record = list[str]()

    @property
    def number(self) -> int:
        """Of the last line that was given."""
        return self._before + len(self.record)

    def given(self) -> Iterator[str]:
        """The lines that come next; a new one for each reader."""
        back, record = self._back, self.record
        while (line := back.pop() if back else next(self._lines, None)) is not None:
            record.append(line)
            yield line

    def next_record(self) -> None:
        """Another record begins."""
        self._before += len(self.record)
        self.record.clear()

    def again(self, kept: int, most: int = 0) -> bool:
        """Gives the record's lines from `kept` on once more; False when that has been `most` characters."""
        back = self.record[kept:]
        del self.record[kept:]
        self._back += back[::-1]
        self._again += sum(map(len, back)) if most else 0
        return self._again <= most


def _csv_lines(stream: io.BufferedReader, place: Place) -> Iterator[str]:
    for _, _, block in lines.blocks(stream, place):
        block, bad = encodings.to_utf8(block, place.settings.max_bad)
        place.note("bad bytes", bad)
        yield from io.StringIO(block.decode("utf-8", "replace"), newline="")


def read_parquet(stream: io.BufferedReader, place: Place) -> Iterator[pl.DataFrame]:
    """The column `text_field`, in frames.SCHEMA, some rows at a time. Rows count from 1."""
    with tempfile.TemporaryFile() as spool:
        source: IO[bytes] = stream
        if not seekable(stream):  # a Parquet file is read from its end
            shutil.copyfileobj(stream, spool)
            spool.seek(0)
            source = spool
        try:
            yield from _parquet(pq.ParquetFile(source), place)
        except (pa.ArrowException, ValueError) as error:  # the latter for names that are not UTF-8
            raise BrokenFileError(f"broken Parquet file: {error}".splitlines()[0]) from error


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
