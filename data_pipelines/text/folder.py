"""A user's own text: a folder, a file or a glob, read as the corpus factory reads it.

What cannot be read is counted, written to a quarantine with its reason, and never stops the run: files of
kinds not known, a line that is no text, a line of .jsonl that is not a JSON object with the text field, a
compressed file that breaks off (what came before the break is kept).
"""

import dataclasses
import glob
import itertools
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from data_pipelines.corpus.reading import inputs
from data_pipelines.corpus.reading.inputs import InputFile
from data_pipelines.corpus.reading.quarantine import Quarantine
from data_pipelines.corpus.reading.settings import UNITS, Reading
from data_pipelines.corpus.reading.units import Slice, Unit
from data_pipelines.errors import DataError
from data_pipelines.text.documents import Document

# Raise it when the same files give other documents, so that caches of older code are not read.
FORMAT = 2
_NAMED = "corpus.path:"
# Lines of these lose white space at their ends.
_PLAIN = ("markdown", "text", inputs.UNNAMED)
# Of one document: a whole novel, or all of a collection that somebody put into one file.
_MAX_DOCUMENT_BYTES = 2**30


def files(path: str | Path) -> list[Path]:
    """The files of a folder (recursively), of a glob, or the one file itself, that are read, by name.

    Raises:
      DataError: nothing is there, or nothing of a known kind.
    """
    return [Path(file.path) for file in _found(path, Counter())]


def documents(
    path: str | Path, text_field: str = "text", unit: str = "file", quarantine: Quarantine | None = None
) -> Iterator[Document]:
    """Documents of `files(path)`: a line of .jsonl is one; of .txt, `unit` says: file, paragraph or line.

    Paragraphs of a .txt end at blank lines. `id` is the file's path inside the folder, and the line or number
    of the document where a file may hold several (`data_pipelines.corpus.reading.reader`).

    Raises:
      DataError: as `files`; or `unit` is unknown.
    """
    from data_pipelines.corpus.reading import reader  # imports polars

    settings = reading(text_field, unit)
    quarantine = quarantine if quarantine is not None else Quarantine()
    found = _found(path, quarantine.skipped)
    for plain, group in itertools.groupby(found, key=lambda file: file.kind in _PLAIN):
        for frame in reader.read(Unit("", tuple(map(Slice, group))), settings, quarantine):
            for name, text in frame.select("id", "text").iter_rows():
                yield Document(name, _tidy(text) if plain else text)


def reading(text_field: str, unit: str) -> Reading:
    """How documents are read; what a recipe binds of `Reading` holds.

    Raises:
      DataError: `unit` is unknown.
    """
    if unit not in UNITS:
        raise DataError(f"corpus.documents: {unit!r} is not one of {', '.join(UNITS)}")
    settings = Reading(text_field=text_field, unit=unit)
    return dataclasses.replace(
        settings, max_document_bytes=max(settings.max_document_bytes, _MAX_DOCUMENT_BYTES)
    )


def _found(path: str | Path, skipped: Counter[str]) -> list[InputFile]:
    given = Path(path).expanduser()
    if not given.exists() and not glob.has_magic(str(path)):
        raise DataError(f"{_NAMED} there is no folder or file {given}: give one with text")
    return inputs.find([str(given)], skipped, _NAMED)


def _tidy(text: str) -> str:
    return "\n".join(line.rstrip() for line in text.split("\n"))
