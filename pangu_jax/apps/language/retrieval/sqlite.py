"""Rows of an SQLite database as texts, read without a way to change it."""

import itertools
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

from data_pipelines.corpus.reading.quarantine import Quarantine
from pangu_jax.apps.language.retrieval import encoded, full_text
from pangu_jax.apps.language.retrieval.full_text import FullText
from pangu_jax.apps.language.retrieval.left_out import WHOLE
from pangu_jax.apps.language.retrieval.seen_rows import SeenRows
from pangu_jax.apps.language.retrieval.source_text import SourceText, row

_MAGIC = b"SQLite format 3\0"
_ROWID = ("rowid", "_rowid_", "oid")  # names of the same number, where no column takes them
_BATCH = 1000  # rows, whose encoding is recognised together
# A view is a program: one may count for ever. Of a longer one, what came so far is kept.
VIEW_ROWS = 100_000
VIEW_STEPS = 100_000_000  # of SQLite's machine, seconds
_TEXT_TYPES = ("CHAR", "CLOB", "TEXT")  # SQLite's own rule for which declared types are of text


def is_database(file: Path) -> bool:
    """Whether a file begins as an SQLite database does."""
    try:
        with file.open("rb") as opened:
            return opened.read(len(_MAGIC)) == _MAGIC
    except OSError:
        return False


class _Table(NamedTuple):
    name: str
    kind: str  # table, virtual, view
    without_rowid: bool
    index: FullText | None


def texts(file: Path, quarantine: Quarantine) -> Iterator[SourceText]:
    """Every row that holds text or numbers: of tables by name, then full-text indexes, then views.

    A row of an index or a view comes only where no row before it holds all of its values. A row is cited by
    its rowid; those of a view and of a table without rowids are numbered from 1. What SQLite cannot read (a
    table whose module is not there, a page that is broken) goes to the quarantine, and the rest is read.
    """
    try:
        with closing(sqlite3.connect(f"{file.resolve().as_uri()}?mode=ro", uri=True)) as connection:
            connection.text_factory = _text
            connection.execute("PRAGMA trusted_schema = OFF")  # its triggers and defaults are not ours
            tables = _tables(connection)
            yield from _Reader(file, connection, quarantine).texts(tables)
    except sqlite3.Error as error:
        quarantine.add(file, WHOLE, f"no readable database: {_reason(error)}")


def _text(raw: bytes) -> str | bytearray:
    """A value of type TEXT, whose bytes may be anything; bytearray tells such from one of type BLOB."""
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return bytearray(raw)


def _tables(connection: sqlite3.Connection) -> list[_Table]:
    """What to read, in order; what full-text search keeps beside a table is of type "shadow"."""
    schema = connection.execute("SELECT name, sql FROM sqlite_schema WHERE sql LIKE 'CREATE VIRTUAL%'")
    virtual = {str(name): sql for name, sql in schema if isinstance(sql, str)}
    found = []
    for _, name, kind, _, without_rowid, *_ in connection.execute("PRAGMA main.table_list").fetchall():
        name = str(name)  # of bytes that are not UTF-8, which no statement can name: that table is not found
        sql = virtual.get(name, "")
        if kind == "shadow" or name.startswith("sqlite_") or full_text.is_inside(sql):
            continue
        found.append(_Table(name, kind, bool(without_rowid), full_text.of(sql)))
    names = {table.name.lower() for table in found}
    return sorted(
        (t for t in found if t.index is None or (t.index.content or "").lower() not in names),
        key=lambda table: (table.kind == "view", table.index is not None, table.name),
    )


class _Reader:
    """Reads the tables of one database."""

    def __init__(self, file: Path, connection: sqlite3.Connection, quarantine: Quarantine):
        self._file, self._connection, self._quarantine = file, connection, quarantine

    def texts(self, tables: list[_Table]) -> Iterator[SourceText]:
        """The rows of all; what stops one stops no other."""
        indexed = SeenRows(names=False) if any(table.index for table in tables) else None
        viewed = SeenRows(names=True) if any(table.kind == "view" for table in tables) else None
        for table in tables:
            again = indexed if table.index else viewed if table.kind == "view" else None
            for source in self._table(table):
                fields = source.fields
                if again is not None and again.holds(fields):
                    continue
                for seen in filter(None, (indexed, viewed)):
                    seen.add([*fields, ("rowid", str(source.number))])
                yield source

    def _table(self, table: _Table) -> Iterator[SourceText]:
        try:
            yield from self._rows(table)
        except (sqlite3.Error, UnicodeError) as error:
            if table.index and "tokenizer" in str(error) and not table.index.content:
                try:  # the words cannot be looked up, but what was indexed is in a table beside
                    yield from self._rows(table, f"{table.name}_content")
                    return
                except (sqlite3.Error, UnicodeError):
                    pass
            kind = "view" if table.kind == "view" else "table"
            self._reject(table.name, f"unreadable {kind}: {_reason(error)}")

    def _rows(self, table: _Table, content: str | None = None) -> Iterator[SourceText]:
        quoted = _quoted(content or table.name)
        described = self._connection.execute(f"PRAGMA main.table_xinfo({quoted})").fetchall()
        # Hidden columns of a virtual table are commands; generated ones (2, 3) are values like others.
        columns = [(str(name), str(kind).upper()) for _, name, kind, _, _, _, hid in described if hid != 1]
        taken = {name.lower() for name, _ in columns}
        numbered = table.kind != "view" and not table.without_rowid
        rowid = next((name for name in _ROWID if name not in taken), None) if numbered else None
        wanted = ", ".join([*([rowid] if rowid else []), *(_quoted(name) for name, _ in columns)])
        order = f" ORDER BY {rowid}" if rowid else ""
        rows = self._selected(f"SELECT {wanted} FROM main.{quoted}{order}", table)
        if content and table.index:
            names = ["", *table.index.columns]  # the first one is the rowid
            columns = [(name, kind) for name, (_, kind) in zip(names, columns, strict=False)]
        for number, values in self._decoded(rows, columns, rowid is not None, table.name):
            fields = list(zip((name for name, _ in columns), values, strict=False))
            if source := row(fields[1:] if content else fields, table.name, number):
                yield source

    def _selected(self, sql: str, table: _Table) -> Iterator[tuple[Any, ...]]:
        if table.kind != "view":
            yield from self._connection.execute(sql)
            return
        steps = itertools.count(1)
        self._connection.set_progress_handler(lambda: next(steps) > VIEW_STEPS // 1000, 1000)
        try:
            for number, values in enumerate(self._connection.execute(sql), 1):
                if number > VIEW_ROWS:
                    self._reject(
                        table.name, f"a view of more than {VIEW_ROWS} rows, of which no more are read"
                    )
                    return
                yield values
        finally:
            self._connection.set_progress_handler(None, 0)

    def _decoded(
        self, rows: Iterator[tuple[Any, ...]], columns: list[tuple[str, str]], has_rowid: bool, table: str
    ) -> Iterator[tuple[int, list[Any]]]:
        """(rowid or number, values) of each row: text in other encodings decoded, what is no text None."""
        textual = {j for j, (_, kind) in enumerate(columns) if any(part in kind for part in _TEXT_TYPES)}
        number = 0
        for batch in _batches(rows):
            numbered: list[tuple[int, list[Any]]] = []
            for values in batch:
                number = values[0] if has_rowid else number + 1
                numbered.append((number, list(values[1:] if has_rowid else values)))
            places = [
                (at, values, j)
                for at, values in numbered
                for j, value in enumerate(values)
                if isinstance(value, bytearray)
                or (isinstance(value, bytes) and _is_text(value, j in textual))
            ]
            found = encoded.values_of([bytes(values[j]) for _, values, j in places])
            for (at, values, j), decoded in zip(places, found, strict=True):
                if decoded is None:
                    self._reject(f"{table}:{at}", "not text: no known encoding", bytes(values[j]))
                else:
                    self._quarantine.noted["bad bytes"] += decoded[1]
                values[j] = decoded and decoded[0]
            for at, values in numbered:
                yield at, [None if isinstance(value, bytes) else value for value in values]

    def _reject(self, where: Any, reason: str, sample: bytes = b"") -> None:
        self._quarantine.add(self._file, str(where), reason, sample)


def _batches(rows: Iterator[tuple[Any, ...]]) -> Iterator[list[tuple[Any, ...]]]:
    """Some rows at a time; of rows that break off, those before that too."""
    batch: list[tuple[Any, ...]] = []
    try:
        for values in rows:
            batch.append(values)
            if len(batch) == _BATCH:
                yield batch
                batch = []
    except (sqlite3.Error, UnicodeError):
        if batch:
            yield batch
        raise
    if batch:
        yield batch


def _is_text(value: bytes, declared: bool) -> bool:
    """Whether bytes of type BLOB are text that a program wrote without decoding it.

    In a column of text they are; in another one only what is plainly UTF-8, not what merely can be decoded.
    """
    if declared:
        return True
    try:
        text = value.decode()
    except UnicodeDecodeError:
        return False
    return not any(ord(letter) < 32 and letter not in "\t\n\r" for letter in text)


def _reason(error: Exception) -> str:
    if isinstance(error, UnicodeError):
        return "a name in it is not UTF-8"
    if str(error) == "interrupted":
        return "it takes too long"
    return " ".join(str(error).split())[:80]


def _quoted(identifier: str) -> str:
    """An identifier can be no parameter of a statement; doubled quotes are all that SQL asks of a name."""
    return '"' + identifier.replace('"', '""') + '"'
