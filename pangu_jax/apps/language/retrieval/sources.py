"""What knowledge is read from: all that the corpus factory reads, SQLite databases, and folders of them."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from data_pipelines.corpus.reading import opening
from data_pipelines.corpus.reading.inputs import InputFile, kind_of, printable
from data_pipelines.corpus.reading.place import Place
from data_pipelines.corpus.reading.quarantine import Quarantine
from data_pipelines.corpus.reading.settings import Reading
from data_pipelines.errors import DataError
from pangu_jax.apps.language.retrieval import contents, sqlite
from pangu_jax.apps.language.retrieval.left_out import WHOLE
from pangu_jax.apps.language.retrieval.source_text import SourceText

KNOWN = (
    ".txt, .md, .html, .csv, .tsv, .json, .jsonl, .parquet, .warc, any of them in .gz, .xz, .zst or .bz2, "
    ".zip or .tar of them, or an SQLite database"
)
# Kinds that knowledge knows by one more suffix than the corpus factory.
_ALSO = {".markdown": "markdown", ".tsv": "csv"}
_MAX_BYTES = 2**30  # of a text: all of a handbook, in one file
_BESIDE = ("-wal", "-shm", "-journal")  # what SQLite keeps beside a database, and reads with it


def sources(paths: Sequence[str | Path], quarantine: Quarantine) -> Iterator[SourceText]:
    """Everything that the paths hold, in order; what cannot be read goes to the quarantine, file by file.

    A value of JSON gives its field "text", or else all its fields as `name：value`, as a table's row does. A
    member of an archive is cited as `archive:member`.

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
    if not file.is_file():
        quarantine.add(file, WHOLE, "no regular file")
    elif sqlite.is_database(file):
        yield from sqlite.texts(file, quarantine)
    elif kind := _kind(name):
        yield from _opened(file, name, *kind, quarantine)
    elif not (file.name.endswith(_BESIDE) and sqlite.is_database(Path(str(file).rpartition("-")[0]))):
        suffix = printable(file.suffix.lower()[:20])
        quarantine.add(file, WHOLE, f"of a kind that is not read, {suffix or 'without a suffix'}")


def _kind(name: str) -> tuple[str, str] | None:
    """(kind, compression); None of what is not read."""
    if also := _ALSO.get(Path(name).suffix.lower()):
        return also, ""
    known = kind_of(name)
    return known and known[1:]


def _opened(
    file: Path, name: str, kind: str, compression: str, quarantine: Quarantine
) -> Iterator[SourceText]:
    place = Place(str(file), "", Reading(max_document_bytes=_MAX_BYTES), quarantine)
    before = quarantine.noted.copy()
    given = InputFile(name, "", str(file.absolute()), 0, kind, compression)
    try:
        for found in opening.opened(given, place):
            try:
                yield from contents.texts(found, name + found.place.name.removeprefix(place.name))
            except BaseException as error:  # a member that is broken costs itself
                opening.why_not(error, found.place)
    except opening.BrokenFileError as error:
        opening.why_not(error, place)
    # What the reader passes over it counts alone: a person is told where.
    for what, count in (quarantine.noted - before).items():
        if what != "bad bytes":
            quarantine.add(file, WHOLE, f"{what}: {count}")
