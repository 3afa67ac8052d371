"""Rows of an SQLite database as text, read without a way to change it."""

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from data_pipelines.errors import DataError

_MAGIC = b"SQLite format 3\0"
_ROWID = ("rowid", "_rowid_", "oid")  # names of the same number, where no column takes them


def is_database(file: Path) -> bool:
    """Whether a file begins as an SQLite database does."""
    try:
        with file.open("rb") as opened:
            return opened.read(len(_MAGIC)) == _MAGIC
    except OSError:
        return False


def rows(file: Path) -> Iterator[tuple[str, int, str]]:
    """(table, rowid, text) of every row that holds text or numbers, table by table; views are left out.

    A table without rowids has its rows numbered from 1.

    Raises:
      DataError: the database cannot be read.
    """
    try:
        with closing(sqlite3.connect(f"{file.resolve().as_uri()}?mode=ro", uri=True)) as connection:
            connection.text_factory = lambda raw: raw.decode("utf-8", "replace")
            connection.execute("PRAGMA trusted_schema = OFF")  # its triggers and defaults are not ours
            for table, without_rowid in _tables(connection):
                yield from _rows(connection, table, without_rowid)
    except sqlite3.Error as error:
        raise DataError(f"cannot read the database {file}: {error}") from error


def row_text(fields: Iterable[tuple[str, Any]]) -> str:
    """`name：value；name：value`, without what is empty or binary."""
    return "；".join(
        f"{name}：{value}"
        for name, value in fields
        if value is not None and not isinstance(value, bytes) and str(value).strip()
    )


def _tables(connection: sqlite3.Connection) -> list[tuple[str, bool]]:
    """User tables in order of name; what full-text search keeps beside a table is of type "shadow"."""
    listed = connection.execute("PRAGMA table_list").fetchall()
    return sorted(
        (name, bool(without_rowid))
        for schema, name, kind, _, without_rowid, *_ in listed
        if schema == "main" and kind in ("table", "virtual") and not name.startswith("sqlite_")
    )


def _rows(connection: sqlite3.Connection, table: str, without_rowid: bool) -> Iterator[tuple[str, int, str]]:
    quoted = _quoted(table)
    columns = [column[1] for column in connection.execute(f"PRAGMA table_info({quoted})")]
    taken = {column.lower() for column in columns}
    rowid = None if without_rowid else next((name for name in _ROWID if name not in taken), None)
    wanted = ", ".join([*([rowid] if rowid else []), *map(_quoted, columns)])
    order = f" ORDER BY {rowid}" if rowid else ""
    for number, row in enumerate(connection.execute(f"SELECT {wanted} FROM {quoted}{order}"), 1):
        if rowid:
            number, *row = row
        if text := row_text(zip(columns, row, strict=True)):
            yield table, number, text


def _quoted(identifier: str) -> str:
    """An identifier can be no parameter of a statement; doubled quotes are all that SQL asks of a name."""
    return '"' + identifier.replace('"', '""') + '"'
