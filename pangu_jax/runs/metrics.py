"""metrics.jsonl (one JSON object per line) and TensorBoard.

A run that was killed and resumed must leave the same file as one that never stopped:
- Opening cuts the file back to the step that was restored, and drops a last line torn by a kill.
- Numbers are written by `repr` of the Python float, the shortest text that reads back as the same bits. A
  float32 is widened to double first, which is exact. So equal losses give equal text, and text equality
  proves bit equality.
- JSON has no NaN or infinity; they are written as null, so any JSON reader can read the file. (The trainer
  stops at such a loss or gradient and warns of other metrics. What there was nothing to average for, such as
  the loss of a task that a batch holds nothing of, is absent.)

A row of step N must be written before the checkpoint of step N is saved: a kill between the two would lose
it.
"""

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, SupportsIndex

from pangu_jax.errors import UserError
from pangu_jax.runs.run_directory import RunDirectory, write_atomically


class Metrics:
    """Appends to the run directory's metrics.jsonl and tensorboard/; one process only.

    Args:
        run_directory: whose metrics these are.
        after_step: the step that was restored; lines of later steps are dropped, since they will come again.
            0 or
            None: a fresh start, the file begins empty.
        tensorboard: also write event files.
    Raises:
        UserError: the file cannot be written.
    """

    def __init__(self, run_directory: RunDirectory, after_step: int | None = None, tensorboard: bool = True):
        self._path = run_directory.metrics
        keep_through(self._path, after_step or 0)
        try:
            # Unbuffered: after a failed write there is nothing left that closing would write again.
            self._file = self._path.open("ab", buffering=0)
        except OSError as error:
            raise UserError(
                f"cannot write {self._path}: {error.strerror}; choose another --run_dir"
            ) from None
        self._tensorboard = None
        if tensorboard:
            from tensorboardX import SummaryWriter  # 0.3 s, and readers of this module do without

            # purge_step hides, in TensorBoard, what an earlier process wrote beyond the restored step.
            purge = None if after_step is None else after_step + 1
            self._tensorboard = SummaryWriter(str(run_directory.tensorboard), purge_step=purge)

    def write(self, step: SupportsIndex, values: Mapping[str, float | int | bool | str | None]) -> None:
        """Append {"step": step, **values} as one line and hand it to the operating system at once.

        Args:
            step: the optimizer step, counted from 1.
            values: scalars; 0-d arrays of numpy or JAX are taken as Python floats.
        Raises:
            UserError: the disk is full.
        """
        row: dict[str, Any] = {"step": int(step)} | {name: _plain(value) for name, value in values.items()}
        try:
            line = json.dumps(row, ensure_ascii=False, allow_nan=False).encode() + b"\n"
            while line:
                line = line[self._file.write(line) :]
        except OSError as error:
            raise UserError(
                f"cannot write {self._path}: {error.strerror}; free or repair the disk and run the same "
                "command again"
            ) from None
        if self._tensorboard:
            for name, value in row.items():
                if name != "step" and isinstance(value, int | float) and not isinstance(value, bool):
                    self._tensorboard.add_scalar(name, value, row["step"])

    def close(self) -> None:
        """Flush and close both files."""
        self._file.close()
        if self._tensorboard:
            self._tensorboard.close()

    def __enter__(self) -> "Metrics":
        return self

    def __exit__(self, *exception) -> None:
        self.close()


def read(path: str | os.PathLike) -> list[dict]:
    """The rows of a metrics.jsonl, in order; [] if there is no file. A torn last line is left out.

    Raises:
        UserError: a line before the last is not a row.
    """
    path = Path(path)
    return [row for row, _ in _rows(path)] if path.exists() else []


def keep_through(path: Path, step: int) -> None:
    """Cut `path` back (atomically) to the rows of steps <= `step`; what stays, stays to the byte."""
    if not path.exists():
        return
    kept = b"".join(line for row, line in _rows(path) if row["step"] <= step)
    if kept != path.read_bytes():
        write_atomically(path, kept)


def _rows(path: Path) -> list[tuple[dict, bytes]]:
    """(row, its line with the newline) of every whole row. What follows the last newline was being
    written."""
    rows = []
    for number, line in enumerate(path.read_bytes().split(b"\n")[:-1], start=1):
        try:
            row = json.loads(line)
            is_row = isinstance(row["step"], int)
        except (ValueError, TypeError, KeyError):
            row, is_row = {}, False
        if not is_row:
            raise UserError(f"{path}, line {number} is not a row of metrics; fix or delete that line")
        rows.append((row, line + b"\n"))
    return rows


def _plain(value) -> float | int | bool | str | None:
    if isinstance(value, bool | int | str) or value is None:
        return value
    value = value.item() if hasattr(value, "item") else float(value)
    return None if isinstance(value, float) and not math.isfinite(value) else value
