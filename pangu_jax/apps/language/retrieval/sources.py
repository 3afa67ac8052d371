"""What knowledge is read from: text, Markdown and .jsonl files, folders of them, and SQLite databases."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from data_pipelines.corpus.reading.quarantine import Quarantine
from data_pipelines.errors import DataError
from data_pipelines.text import json_line
from pangu_jax.apps.language.retrieval import sqlite

TEXT = (".txt", ".md")
RECORDS = ".jsonl"


class SourceText(NamedTuple):
    """A piece of text and where it is.

    Attributes:
      text: not blank.
      name: file or table, as it is cited.
      number: line of its first character, or rowid.
      multiline: whether a newline in the text is one in the file, so that later lines can be cited.
    """

    text: str
    name: str
    number: int
    multiline: bool = False


def sources(paths: Sequence[str | Path], quarantine: Quarantine) -> Iterator[SourceText]:
    """Everything that the paths hold, in order; lines that cannot be read go to the quarantine.

    A line of .jsonl gives its field "text", or else all its fields as `name：value`, as a table's row does.

    Raises:
      DataError: a path is missing, unreadable, of an unknown kind, or a broken database.
    """
    for path in map(Path, paths):
        path = path.expanduser()
        for file in _files(path):
            name = str(file.relative_to(path)) if path.is_dir() else file.name
            if file.suffix in TEXT:
                yield from _text(file, name)
            elif file.suffix == RECORDS:
                yield from _records(file, name, quarantine)
            else:
                for table, rowid, text in sqlite.rows(file):
                    yield SourceText(text, table, rowid)


def _files(path: Path) -> list[Path]:
    known = f"{', '.join(f'*{kind}' for kind in (*TEXT, RECORDS))} or an SQLite database"
    if path.is_dir():
        found = sorted(file for file in path.rglob("*") if file.is_file() and _is_known(file))
        if not found:
            raise DataError(f"{path} holds no knowledge: expected {known}")
        return found
    if not path.is_file():
        raise DataError(f"there is no file or folder {path}: give {known}")
    if not _is_known(path):
        raise DataError(f"{path} is of no known kind: give {known}")
    return [path]


def _is_known(file: Path) -> bool:
    return file.suffix in (*TEXT, RECORDS) or sqlite.is_database(file)


def _read(file: Path) -> str:
    try:
        return file.read_text("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{file} is not UTF-8 from byte {error.start} on: convert it first") from None
    except OSError as error:
        raise DataError(f"cannot read {file}: {error.strerror}") from error


def _text(file: Path, name: str) -> Iterator[SourceText]:
    text = _read(file)
    if text.strip():
        yield SourceText(text, name, 1, multiline=True)


def _records(file: Path, name: str, quarantine: Quarantine) -> Iterator[SourceText]:
    # Not splitlines: U+2028 and the like may be inside a JSON string.
    for number, line in enumerate(_read(file).split("\n"), 1):
        if not line.strip():
            continue
        try:
            record = json_line.loads(line)
        except ValueError as error:
            quarantine.add(file, number, str(error), line)
            continue
        text = _record_text(record)
        if text.strip():
            yield SourceText(text, name, number)
        else:
            quarantine.add(file, number, "no text", line)


def _record_text(record: Any) -> str:
    if not isinstance(record, dict):
        return record if isinstance(record, str) else ""
    if isinstance(record.get("text"), str):
        return record["text"]
    return sqlite.row_text(
        (name, value) for name, value in record.items() if isinstance(value, str | int | float)
    )
