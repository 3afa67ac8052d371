"""Evaluation files taken apart: how each kind holds its examples, and which strings in them are text."""

import csv
import dataclasses
import gzip
import io
import json
import lzma
import re
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import zstandard

# What taking a file apart raises when it is broken or something else than it should be.
UNREADABLE = (
    OSError,
    EOFError,
    ValueError,
    LookupError,
    RecursionError,
    csv.Error,
    lzma.LZMAError,
    zipfile.BadZipFile,
    zlib.error,
    zstandard.ZstdError,
)

Example = list[str]  # texts
Reading = Callable[[str], Iterator[Example]]  # takes a file's content apart


@dataclasses.dataclass(frozen=True)
class JsonLines:
    """An example per line. A field is a path, `*` for every member; a list of strings it ends at is one text.

    A text is cut at the pattern `blank`, which takes the place of missing words.
    """

    fields: tuple[str, ...]
    blank: str | None = None

    def __call__(self, content: str) -> Iterator[Example]:
        for record in _json_lines(content):
            texts = [text for field in self.fields for text in _leaves(record, field.split("."))]
            yield [part for text in texts for part in re.split(self.blank, text)] if self.blank else texts


@dataclasses.dataclass(frozen=True)
class Json:
    """One JSON value; `examples` is the path of the examples, and paths of fields begin there."""

    examples: str
    fields: tuple[str, ...]

    def __call__(self, content: str) -> Iterator[Example]:
        for record in _walk(json.loads(content), self.examples.split(".")):
            yield [text for field in self.fields for text in _leaves(record, field.split("."))]


@dataclasses.dataclass(frozen=True)
class TabSeparated:
    """An example per line, without a header; texts by column."""

    columns: tuple[int, ...]

    def __call__(self, content: str) -> Iterator[Example]:
        for line in content.split("\n"):
            cells = line.split("\t")
            yield [cells[column] for column in self.columns if column < len(cells)]


@dataclasses.dataclass(frozen=True)
class CommaSeparated:
    """An example per row; the text by the name in the header."""

    column: str

    def __call__(self, content: str) -> Iterator[Example]:
        rows = csv.reader(io.StringIO(content))
        column = next(rows, []).index(self.column)
        yield from ([row[column] if column < len(row) else ""] for row in rows if row)


def tagged_words(content: str) -> Iterator[Example]:
    """A word and its tag per line, an empty line between examples; a line without a tag is the intent."""
    for block in re.split(r"\n\s*\n", content):
        words = [line.split()[0] for line in block.splitlines() if len(line.split()) > 1]
        if words:
            yield [" ".join(words)]


def lcsts(content: str) -> Iterator[Example]:
    """LCSTS as published: <doc> with <summary> and <short_text>."""
    for document in re.split(r"</doc>", content):
        yield re.findall(r"<(?:summary|short_text)>\s*(.*?)\s*</", document, re.DOTALL)


def plain_lines(content: str) -> Iterator[Example]:
    """A user's .txt: an example per line."""
    for line in content.split("\n"):
        if line.strip():
            yield [line]


def every_string(content: str) -> Iterator[Example]:
    """A user's .jsonl: an example per line, every string in it is a text."""
    for record in _json_lines(content):
        yield list(_strings(record))


def _json_lines(content: str) -> Iterator[Any]:
    # Not splitlines: strings of JSON may hold its other line ends as they are.
    return (json.loads(line) for line in content.split("\n") if line.strip())


def _walk(node: Any, path: list[str]) -> Iterator[Any]:
    """Whatever lies at a path; nothing where it leads nowhere."""
    if not path:
        yield node
        return
    members = {}
    if isinstance(node, dict):
        members = node
    elif isinstance(node, list):
        members = {str(i): child for i, child in enumerate(node)}
    chosen = members.values() if path[0] == "*" else [members[path[0]]] if path[0] in members else []
    for child in chosen:
        yield from _walk(child, path[1:])


def _leaves(record: Any, path: list[str]) -> Iterator[str]:
    for leaf in _walk(record, path):
        if isinstance(leaf, str):
            yield leaf
        elif isinstance(leaf, list) and all(isinstance(line, str) for line in leaf):
            yield "\n".join(leaf)


def _strings(node: Any) -> Iterator[str]:
    if isinstance(node, str):
        yield node
    elif isinstance(node, dict | list):
        for child in node.values() if isinstance(node, dict) else node:
            yield from _strings(child)


def unpacked(path: Path) -> str:
    """A file's text, unpacked by its suffix: .gz, .xz, .zst or .zip (all members, one after the other)."""
    raw = path.read_bytes()
    match path.suffix:
        case ".gz":
            raw = gzip.decompress(raw)
        case ".xz":
            raw = lzma.decompress(raw)
        case ".zst":
            with zstandard.ZstdDecompressor().stream_reader(raw, read_across_frames=True) as reader:
                raw = reader.read()
        case ".zip":
            with zipfile.ZipFile(io.BytesIO(raw)) as archive:
                raw = b"\n".join(archive.read(member) for member in archive.infolist() if not member.is_dir())
    return raw.decode("utf-8-sig")
