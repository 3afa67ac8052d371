"""A user's own text: a folder, a file or a glob of .txt and .jsonl, plain or as .gz, .xz, .zst.

What cannot be read is counted, written to a quarantine with its reason, and never stops the run: a line that
is not UTF-8, a line of .jsonl that is not a JSON object with the text field, a compressed file that breaks
off (what came before the break is kept).
"""

import dataclasses
import glob
import gzip
import io
import json
import lzma
import zlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from data_pipelines.documents import Document
from data_pipelines.errors import DataError

KINDS = (".txt", ".jsonl")
COMPRESSIONS = ("", ".gz", ".xz", ".zst")
_SUFFIXES = tuple(kind + compression for kind in KINDS for compression in COMPRESSIONS)
UNITS = ("file", "paragraph", "line")


@dataclasses.dataclass
class Quarantine:
    """What was left out: `entries` are {file, line, reason, text}; `counts` by reason."""

    entries: list[dict[str, str | int]] = dataclasses.field(default_factory=list)
    counts: Counter[str] = dataclasses.field(default_factory=Counter)
    kept: int = 10_000  # entries; counting goes on

    def add(self, file: Path, line: int, reason: str, raw: bytes = b"") -> None:
        self.counts[reason.split(":")[0]] += 1
        if len(self.entries) < self.kept:
            text = raw[:2000].decode("utf-8", "backslashreplace")
            self.entries.append({"file": str(file), "line": line, "reason": reason, "text": text})

    def write(self, path: Path) -> None:
        """One JSON object a line."""
        with path.open("w", encoding="utf-8") as out:
            for entry in self.entries:
                out.write(json.dumps(entry, ensure_ascii=False) + "\n")


def files(path: str | Path) -> list[Path]:
    """Text files of a folder (recursively), of a glob, or the one file itself, sorted by name.

    Raises:
      DataError: nothing is there, or nothing of a known kind.
    """
    wanted = ", ".join(f"*{kind}" for kind in KINDS) + " (plain, .gz, .xz or .zst)"
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
            record = json.loads(line)
        except (json.JSONDecodeError, RecursionError) as error:
            reason = getattr(error, "msg", "nested too deeply")
            quarantine.add(file, number, f"malformed JSON: {reason}", line.encode())
            continue
        text = record.get(text_field) if isinstance(record, dict) else None
        # json accepts lone surrogates (\ud800), which no encoder does.
        if not isinstance(text, str) or _has_surrogates(text):
            quarantine.add(file, number, f"no text in field {text_field!r}", line.encode())
            continue
        if text.strip():
            yield Document(f"{name}:{number}", text.strip())


def _has_surrogates(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False


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
    import zstandard

    number = 0
    try:
        with _open(file) as stream:
            for number, raw in enumerate(stream, 1):
                try:
                    line = raw.decode("utf-8-sig" if number == 1 else "utf-8")
                except UnicodeDecodeError as error:
                    quarantine.add(file, number, f"undecodable bytes: {error.reason}", raw)
                    continue
                yield number, line.rstrip("\r\n")
    except (EOFError, zlib.error, lzma.LZMAError, zstandard.ZstdError, gzip.BadGzipFile) as error:
        quarantine.add(file, number + 1, f"broken compressed file: {error}")
    except OSError as error:
        quarantine.add(file, number + 1, f"unreadable file: {error.strerror}")


def _open(file: Path) -> BinaryIO:
    match file.suffix:
        case ".gz":
            return gzip.open(file, "rb")
        case ".xz":
            return lzma.open(file, "rb")
        case ".zst":
            return _open_zst(file)
    return file.open("rb")


def _open_zst(file: Path) -> BinaryIO:
    import zstandard

    reader = zstandard.ZstdDecompressor().stream_reader(
        file.open("rb"), read_across_frames=True, closefd=True
    )
    return io.BufferedReader(reader)
