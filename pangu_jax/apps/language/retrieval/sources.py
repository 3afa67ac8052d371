"""What knowledge is read from: texts, pages, tables, JSON lines and SQLite databases, and folders of them."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from data_pipelines.corpus.reading.inputs import printable
from data_pipelines.corpus.reading.quarantine import Quarantine
from data_pipelines.errors import DataError
from data_pipelines.text import json_line
from pangu_jax.apps.language.retrieval import encoded, markdown, pages, rows, sqlite
from pangu_jax.apps.language.retrieval.left_out import WHOLE
from pangu_jax.apps.language.retrieval.source_text import SourceText, row

KINDS = {
    ".txt": "text",
    ".md": "markdown",
    ".markdown": "markdown",
    ".html": "page",
    ".htm": "page",
    ".csv": "table",
    ".tsv": "table",
    ".jsonl": "records",
    ".ndjson": "records",
}
KNOWN = ".txt, .md, .html, .csv, .tsv, .jsonl or an SQLite database"
_BESIDE = ("-wal", "-shm", "-journal")  # what SQLite keeps beside a database, and reads with it


def sources(paths: Sequence[str | Path], quarantine: Quarantine) -> Iterator[SourceText]:
    """Everything that the paths hold, in order; what cannot be read goes to the quarantine, file by file.

    A line of .jsonl gives its field "text", or else all its fields as `name：value`, as a table's row does.

    Raises:
      DataError: there is nothing at a path.
    """
    given = [Path(path).expanduser() for path in paths]
    for path in given:  # a typing error, said before anything is read
        if not path.exists():
            raise DataError(f"there is no file or folder {path}: give {KNOWN}")
    for path in given:
        for file in _files(path, quarantine):
            name = file.relative_to(path).as_posix() if path.is_dir() else file.name
            try:
                yield from _texts(file, printable(name), quarantine)
            except OSError as error:
                quarantine.add(file, WHOLE, f"unreadable file: {error.strerror or error}")


def _files(path: Path, quarantine: Quarantine) -> Iterator[Path]:
    if not path.is_dir():
        yield path
        return

    def unreadable(error: OSError) -> None:
        quarantine.add(error.filename or path, WHOLE, f"unreadable folder: {error.strerror}")

    found = []
    for folder, folders, files in os.walk(path, onerror=unreadable):
        found += [Path(folder, file) for file in files]
        for link in filter(os.path.islink, (os.path.join(folder, inner) for inner in folders)):  # noqa: PTH118
            quarantine.add(link, WHOLE, "a link to a folder, which is not followed")
    yield from sorted(found)


def _texts(file: Path, name: str, quarantine: Quarantine) -> Iterator[SourceText]:
    kind = KINDS.get(file.suffix.lower())
    if not file.is_file():
        quarantine.add(file, WHOLE, "no regular file")
    elif sqlite.is_database(file):
        yield from sqlite.texts(file, quarantine)
    elif kind == "records":
        yield from _records(file, name, quarantine)
    elif kind is not None:
        text = _read(file, quarantine)
        if text is None or not text.strip():
            return
        match kind:
            case "markdown":
                yield from markdown.texts(text, name)
            case "page" if text.count("<") > pages.MAX_TAGS:
                quarantine.add(file, WHOLE, f"a page of more than {pages.MAX_TAGS} tags")
            case "page":
                found = list(pages.texts(text, name))
                if not found:
                    quarantine.add(file, WHOLE, "a page without text outside menus, footers and the like")
                yield from found
            case "table":
                yield from rows.texts(text, file, name, quarantine)
            case _:
                yield SourceText(text, name, 1, range(1, text.count("\n") + 2))
    elif not (file.name.endswith(_BESIDE) and sqlite.is_database(Path(str(file).rpartition("-")[0]))):
        suffix = printable(file.suffix.lower()[:20])
        quarantine.add(file, WHOLE, f"of a kind that is not read, {suffix or 'without a suffix'}")


def _read(file: Path, quarantine: Quarantine) -> str | None:
    data = file.read_bytes()
    found = encoded.text_of(data)
    if found is None:
        quarantine.add(file, WHOLE, "not text: no known encoding", data)
        return None
    quarantine.noted["bad bytes"] += found[1]
    return found[0]


def _records(file: Path, name: str, quarantine: Quarantine) -> Iterator[SourceText]:
    lines, bad = encoded.lines_of(file.read_bytes())
    quarantine.noted["bad bytes"] += bad
    # Not splitlines: U+2028 and the like may be inside a JSON string.
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            record = json_line.loads(line)
        except ValueError as error:
            quarantine.add(file, number, str(error), line)
            continue
        if source := _record(record, name, number):
            yield source
        else:
            quarantine.add(file, number, "no text", line)


def _record(record: Any, name: str, number: int) -> SourceText | None:
    text = record.get("text") if isinstance(record, dict) else record
    if isinstance(text, str):
        return SourceText(text, name, number) if text.strip() else None
    if not isinstance(record, dict):
        return None
    return row(
        ((key, value) for key, value in record.items() if isinstance(value, str | int | float)), name, number
    )
