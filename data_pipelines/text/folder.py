"""A user's own text: a folder, a file or a glob of .txt and .jsonl, plain or as .gz, .xz, .zst, .bz2.

What cannot be read is counted, written to a quarantine with its reason, and never stops the run: a line that
is not UTF-8, a line of .jsonl that is not a JSON object with the text field, a compressed file that breaks
off (what came before the break is kept).
"""

import glob
from collections.abc import Iterator
from pathlib import Path

from data_pipelines.corpus.reading import compression
from data_pipelines.corpus.reading.quarantine import Quarantine
from data_pipelines.errors import DataError
from data_pipelines.text import json_line
from data_pipelines.text.documents import Document, is_encodable

KINDS = (".txt", ".jsonl")
_SUFFIXES = tuple(kind + packed for kind in KINDS for packed in ("", *compression.SUFFIXES))
UNITS = ("file", "paragraph", "line")


def files(path: str | Path) -> list[Path]:
    """Text files of a folder (recursively), of a glob, or the one file itself, sorted by name.

    Raises:
      DataError: nothing is there, or nothing of a known kind.
    """
    wanted = ", ".join(f"*{kind}" for kind in KINDS) + " (plain, .gz, .xz, .zst or .bz2)"
    given = Path(path).expanduser()
    if given.is_file():
        found = [given]
    elif given.is_dir():
        found = [p for p in given.rglob("*") if p.is_file()]
    elif glob.has_magic(str(path)):
        # Path.glob takes no absolute pattern.
        found = [Path(p) for p in glob.glob(str(given), recursive=True) if Path(p).is_file()]  # noqa: PTH207
    else:
        raise DataError(f"corpus.path: there is no folder or file {given}: give one with {wanted}")
    found = sorted(p for p in found if p.name.endswith(_SUFFIXES))
    if not found:
        raise DataError(f"corpus.path: {given} holds no text files: expected {wanted}")
    return found


def documents(
    path: str | Path, text_field: str = "text", unit: str = "file", quarantine: Quarantine | None = None
) -> Iterator[Document]:
    """Documents of `files(path)`: a line of .jsonl is one; of .txt, `unit` says: file, paragraph or line.

    Paragraphs of a .txt end at blank lines. `id` is the file's path inside the folder and its first line.

    Raises:
      DataError: as `files`; or `unit` is unknown.
    """
    if unit not in UNITS:
        raise DataError(f"corpus.documents: {unit!r} is not one of {', '.join(UNITS)}")
    quarantine = quarantine if quarantine is not None else Quarantine()
    base = Path(path).expanduser()
    for file in files(path):
        name = str(file.relative_to(base)) if base.is_dir() else file.name
        lines = _decoded_lines(file, quarantine)
        if ".jsonl" in file.suffixes:
            yield from _json_documents(file, name, lines, text_field, quarantine)
        else:
            yield from _text_documents(name, lines, unit)


def _json_documents(
    file: Path, name: str, lines: Iterator[tuple[int, str]], text_field: str, quarantine: Quarantine
) -> Iterator[Document]:
    for number, line in lines:
        if not line.strip():
            continue
        try:
            record = json_line.loads(line)
        except ValueError as error:
            quarantine.add(file, number, str(error), line.encode())
            continue
        text = record.get(text_field) if isinstance(record, dict) else None
        if not isinstance(text, str) or not is_encodable(text):
            quarantine.add(file, number, f"no text in field {text_field!r}", line.encode())
            continue
        if text.strip():
            yield Document(f"{name}:{number}", text.strip())


def _text_documents(name: str, lines: Iterator[tuple[int, str]], unit: str) -> Iterator[Document]:
    first, body = 1, []
    for number, line in lines:
        if body and (unit == "line" or (unit == "paragraph" and not line.strip())):
            yield Document(f"{name}:{first}", "\n".join(body).strip())
            body = []
        if line.strip() or body:
            first = first if body else number
            body.append(line.rstrip())
    if body:
        yield Document(f"{name}:{first}", "\n".join(body).strip())


def _decoded_lines(file: Path, quarantine: Quarantine) -> Iterator[tuple[int, str]]:
    """(number, line) without its newline; a line that is not UTF-8 goes to the quarantine."""
    number = 0
    try:
        with compression.open_file(file) as stream:
            for number, raw in enumerate(stream, 1):
                try:
                    line = raw.decode("utf-8-sig" if number == 1 else "utf-8")
                except UnicodeDecodeError as error:
                    quarantine.add(file, number, f"undecodable bytes: {error.reason}", raw)
                    continue
                yield number, line.rstrip("\r\n")
    except compression.BrokenFileError as error:
        quarantine.add(file, number + 1, str(error))
    except OSError as error:
        quarantine.add(file, number + 1, compression.unreadable(error))
