"""From a unit of work to chunks of documents."""

import io
from collections.abc import Iterator
from typing import NamedTuple

import polars as pl

from data_pipelines.corpus import extraction, frames
from data_pipelines.corpus.reading import (
    json_lines,
    json_values,
    opening,
    plain_text,
    tables,
    web_archives,
)
from data_pipelines.corpus.reading.acceptance import accepted
from data_pipelines.corpus.reading.place import Place, Record
from data_pipelines.corpus.reading.quarantine import Quarantine
from data_pipelines.corpus.reading.settings import Reading
from data_pipelines.corpus.reading.units import Slice, Unit

_BATCH_CHARACTERS = 4 * 2**20  # of text or HTML that wait to become a table
_ROW = 64  # what a row costs beside its text


class _Row(NamedTuple):
    id: str
    source: str
    url: str | None
    text: str
    html: bool


def read(unit: Unit, settings: Reading, quarantine: Quarantine) -> Iterator[pl.DataFrame]:
    """The documents of `unit`, in order, in tables of frames.SCHEMA of about `chunk_bytes` of text.

    An id is the file's name and the line (record, row) in it, or the name alone of a file that is one
    document; in an archive, `archive:member` stands for the file. Ids are distinct. Pages come as their main
    text, without the lines that most pages of their site (host, or source) in this chunk have.

    Args:
      quarantine: is given all that cannot be read, and why.
    """
    chunks = _Chunks(settings, quarantine)
    for part in unit.parts:
        place = Place(part.file.name, part.file.source, settings, quarantine)
        for found in _survive(_slice(part, place), place):
            yield from chunks.add(found)
    yield from chunks.end()


def _survive(found: Iterator[_Row | pl.DataFrame], place: Place) -> Iterator[_Row | pl.DataFrame]:
    """`found` to its end, or to where the file is broken, which goes to the quarantine."""
    try:
        yield from found
    except GeneratorExit:
        raise
    except BaseException as error:
        opening.why_not(error, place)


def _slice(part: Slice, place: Place) -> Iterator[_Row | pl.DataFrame]:
    for one in opening.opened(part.file, place):
        found = _documents(one.stream, one.kind, one.place, part.begin, part.end)
        # A member that is broken costs itself; of a file that is none, whoever reads it is told.
        yield from found if one.place is place else _survive(found, one.place)


def _documents(
    stream: io.BufferedReader, kind: str, place: Place, begin: int = 0, end: int | None = None
) -> Iterator[_Row | pl.DataFrame]:
    match kind, place.settings.unit:
        case "jsonl", _:
            found = json_lines.read(stream, place, begin, end)
        case "json", _:
            found = json_values.read(stream, place, begin, end)
        case "csv", _:
            found = tables.read_csv(stream, place)
        case "parquet", _:
            found = tables.read_parquet(stream, place)
        case "warc", _:
            found = web_archives.read(stream, place)
        case "text", "line":
            found = plain_text.read_lines(stream, place, begin, end)
        case "text", "paragraph":
            found = plain_text.read_paragraphs(stream, place)
        case _:
            found = plain_text.read_whole(stream, place, html=kind == "html")
    for one in found:
        if isinstance(one, Record):
            name = place.name if one.where is None else f"{place.name}:{one.where}"
            yield _Row(name, one.source or place.source, one.url, one.text, one.html)
        else:
            yield one


class _Chunks:
    """Gathers documents to tables of `chunk_bytes`. Their column `site` is null but for pages."""

    def __init__(self, settings: Reading, quarantine: Quarantine):
        self._settings, self._quarantine = settings, quarantine
        self._rows: list[_Row] = []
        self._waiting = 0  # bytes of text, or of HTML, in the rows
        self._tables: list[pl.DataFrame] = []
        self._held = 0  # bytes of text in the tables

    def add(self, found: _Row | pl.DataFrame) -> Iterator[pl.DataFrame]:
        if isinstance(found, _Row):
            self._rows.append(found)
            self._waiting += len(found.text) + _ROW
            if self._waiting >= _BATCH_CHARACTERS:
                yield from self._flush()
        else:
            yield from self._flush()
            yield from self._push(found.with_columns(site=pl.lit(None, pl.String)))

    def end(self) -> Iterator[pl.DataFrame]:
        yield from self._flush()
        if self._held:
            yield from self._finished(pl.concat(self._tables))
        self._tables, self._held = [], 0

    def _flush(self) -> Iterator[pl.DataFrame]:
        rows, self._rows, self._waiting = self._rows, [], 0
        if rows:
            yield from self._push(_table(rows, self._settings, self._quarantine))

    def _push(self, table: pl.DataFrame) -> Iterator[pl.DataFrame]:
        self._tables.append(table)
        self._held += frames.text_bytes(table)
        while self._held >= self._settings.chunk_bytes:
            whole = pl.concat(self._tables)
            ends = whole["text"].str.len_bytes().cast(pl.Int64).cum_sum()
            rows = int((ends < self._settings.chunk_bytes).sum()) + 1
            yield from self._finished(whole[:rows])
            self._tables = [whole[rows:]]
            self._held -= int(ends[rows - 1])

    def _finished(self, table: pl.DataFrame) -> Iterator[pl.DataFrame]:
        if table["site"].null_count() < len(table):
            settings = self._settings
            texts, dropped = extraction.drop_repeated_lines(
                table["text"], table["site"], settings.site_pages, settings.site_share
            )
            self._quarantine.noted["boilerplate lines dropped"] += dropped
            table = table.with_columns(texts.alias("text"))
            table = accepted(table, settings, self._quarantine, maybe_bad=False)
        if len(table):
            yield table.select(frames.SCHEMA.names()).rechunk()


def _table(rows: list[_Row], settings: Reading, quarantine: Quarantine) -> pl.DataFrame:
    """Rows as a table, with the main text in the place of HTML."""
    limit = settings.max_page_tags
    kept = []
    for row in rows:
        if row.html and row.text.count("<") > limit:
            quarantine.add(row.id, 1, f"more tags than Reading.max_page_tags: {limit}", row.text)
        else:
            kept.append(row)
    texts = [row.text for row in kept]
    pages = [i for i, row in enumerate(kept) if row.html]
    for i, text in zip(pages, extraction.texts_of([texts[i] for i in pages]), strict=True):
        texts[i] = text
    host = pl.col("url").str.extract("^[a-zA-Z][a-zA-Z0-9+.-]*://([^/?#]+)")
    table = pl.DataFrame(
        {
            "id": [row.id for row in kept],
            "source": [row.source for row in kept],
            "url": [row.url or None for row in kept],
            "text": texts,
            "html": [row.html for row in kept],
        },
        schema=pl.Schema({**frames.SCHEMA, "html": pl.Boolean}),
    )
    table = table.with_columns(site=pl.when("html").then(host.fill_null(pl.col("source")))).drop("html")
    return accepted(table, settings, quarantine)
