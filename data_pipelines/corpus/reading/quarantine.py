"""What could not be read: counted by reason, kept with a sample, and never the end of a run."""

import dataclasses
import json
from collections import Counter
from pathlib import Path

_SAMPLE = 2000  # bytes or characters
# Characters of each half of a reason: what a library or a file says of itself may be a whole page.
_REASON = 80


@dataclasses.dataclass
class Quarantine:
    """What was left out.

    Attributes:
      entries: {file, where, reason, text}; `where` is a line, or the name of a member or record.
      counts: by reason, without what follows its colon.
      noted: what was repaired or passed over on purpose: bad bytes replaced, blank documents and the like.
      skipped: files that nobody opened, by suffix.
      kept: as many entries are kept; counting continues.
    """

    entries: list[dict[str, str | int]] = dataclasses.field(default_factory=list)
    counts: Counter[str] = dataclasses.field(default_factory=Counter)
    noted: Counter[str] = dataclasses.field(default_factory=Counter)
    skipped: Counter[str] = dataclasses.field(default_factory=Counter)
    kept: int = 10_000

    def add(self, file: str | Path, where: str | int, reason: str, sample: bytes | str = b"") -> None:
        kind, colon, detail = reason.partition(":")
        kind = _shortened(kind)
        self.counts[kind] += 1
        if len(self.entries) < self.kept:
            if isinstance(sample, str):
                sample = sample[:_SAMPLE].encode("utf-8", "backslashreplace")
            text = sample[:_SAMPLE].decode("utf-8", "backslashreplace")
            told = f"{kind}{colon}{_shortened(detail)}"
            self.entries.append({"file": str(file), "where": where, "reason": told, "text": text})

    def write(self, path: Path) -> None:
        """One JSON object per line."""
        with path.open("w", encoding="utf-8") as out:
            for entry in self.entries:
                out.write(json.dumps(entry, ensure_ascii=False) + "\n")


def _shortened(text: str) -> str:
    """Not more than `_REASON` characters of it, in one line."""
    text = text.replace("\r", " ").replace("\n", " ")
    return text if len(text) <= _REASON else f"{text[: _REASON - 1]}…"
