"""The rows of a sweep or of an iteration, on disk as they come: what was killed resumes where it stopped."""

import fcntl
import json
import os
from pathlib import Path
from typing import IO, Any, NamedTuple

from pangu_jax.errors import UserError

Row = dict[str, Any]


class Cell(NamedTuple):
    """A place in a sweep's table."""

    task: str
    method: str
    split: str
    seed: int


class Journal:
    """A JSON object per line, for one sweep at a time.

    The first line is what the sweep is of; one of another sweep is refused. A line that a kill left half
    written is dropped.

    Args:
      path: of the file.
      identity: what the sweep is of.
      what: what writes it, in words.

    Attributes:
      rows: those that are there.

    Raises:
      UserError: another process writes it, it is another sweep's, or it cannot be read or written.
    """

    def __init__(self, path: Path, identity: dict[str, Any], what: str = "sweep"):
        self.path, self._what = path, what
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file: IO[bytes] = path.open("ab+")
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(
                f"{path} is being written by another {what}: wait for it, or name another --out"
            ) from None
        except OSError as error:
            raise UserError(f"cannot write {path}: {error.strerror}; name another --out") from None
        self.rows = self._read(identity)

    def _read(self, identity: dict[str, Any]) -> list[Row]:
        self._file.seek(0)
        content = self._file.read()
        whole = content.rfind(b"\n") + 1
        self._file.truncate(whole)
        try:
            lines = [json.loads(line) for line in content[:whole].splitlines()]
        except ValueError:
            raise UserError(f"{self.path} is damaged: move it away, or name another --out") from None
        if not lines:
            self._write({"sweep": identity})
            return []
        before = lines[0].get("sweep", {})
        if changed := [name for name in identity if before.get(name) != identity[name]]:
            article = "an" if self._what[0] in "aeiou" else "a"
            raise UserError(
                f"{self.path} is of {article} {self._what} with another {changed[0]}: resume it with the "
                "recipe and model of then, or name another --out"
            )
        return lines[1:]

    def done(self) -> set[Cell]:
        """Cells that have their row."""
        return {Cell(row["task"], row["method"], row["split"], row["seed"]) for row in self.rows}

    def add(self, row: Row) -> None:
        """Write a row; it is on disk when this returns."""
        self._write(row)
        self.rows.append(row)

    def _write(self, line: dict[str, Any]) -> None:
        try:
            self._file.write((json.dumps(line, ensure_ascii=False) + "\n").encode())
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            raise UserError(
                f"cannot write {self.path}: {error.strerror}; make room and run the same command again"
            ) from None

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()

    def __enter__(self) -> "Journal":
        return self

    def __exit__(self, *exception) -> None:
        self.close()
