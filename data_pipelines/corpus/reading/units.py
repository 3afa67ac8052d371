"""Units of work: what one worker reads at a time, by names and sizes alone."""

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Sequence
from typing import Any

from data_pipelines.corpus.reading.inputs import InputFile
from data_pipelines.corpus.reading.settings import Reading

# Text packs to about a quarter.
_EXPANSION = 4


@dataclasses.dataclass(frozen=True)
class Slice:
    """The lines of a file that begin in its bytes [begin, end); all of it when `end` is None."""

    file: InputFile
    begin: int = 0
    end: int | None = None


@dataclasses.dataclass(frozen=True)
class Unit:
    """What one worker reads at a time.

    Attributes:
      key: a short name. Its beginning is the unit's place in the order, its end a hash of what it holds.
      parts: in order of their names.
    """

    key: str
    parts: tuple[Slice, ...]

    @property
    def size(self) -> int:
        """Bytes as stored."""
        return sum((part.file.size if part.end is None else part.end) - part.begin for part in self.parts)

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @staticmethod
    def from_json(form: dict[str, Any]) -> "Unit":
        parts = (Slice(InputFile(**part["file"]), part["begin"], part["end"]) for part in form["parts"])
        return Unit(form["key"], tuple(parts))


def divide(files: Sequence[InputFile], settings: Reading) -> list[Unit]:
    """Cuts `files`, in the order of their names, into units of about `settings.unit_bytes`."""
    groups: list[list[Slice]] = []
    room = 0
    for part in _slices(sorted(files), settings):
        size = (part.file.size if part.end is None else part.end) - part.begin
        weight = size * (_EXPANSION if part.file.compression else 1)
        if not groups or weight > room:
            groups.append([])
            room = settings.unit_bytes
        groups[-1].append(part)
        room -= weight
    return [Unit(f"{i:06d}-{_digest(group)}", tuple(group)) for i, group in enumerate(groups)]


def _slices(files: Iterable[InputFile], settings: Reading) -> Iterable[Slice]:
    step = settings.unit_bytes
    for file in files:
        by_line = file.kind in ("json", "jsonl") or (file.kind == "text" and settings.unit == "line")
        if by_line and not file.compression and file.size > step:
            for begin in range(0, file.size, step):
                yield Slice(file, begin, min(begin + step, file.size))
        else:
            yield Slice(file)


def _digest(group: Sequence[Slice]) -> str:
    content = json.dumps(
        [[part.file.name, part.file.source, part.file.size, part.begin, part.end] for part in group]
    )
    return hashlib.blake2b(content.encode(), digest_size=4).hexdigest()
