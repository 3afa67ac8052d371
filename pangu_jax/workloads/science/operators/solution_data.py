"""What an operator needs of an equation's solutions, and what is left of them in a finished run."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from pangu_jax.errors import UserError
from pangu_jax.workloads import Source, TrainStream

FILE = "equation.json"


class SolutionData(Protocol):
    """Where pairs of fields come from, such as `data_pipelines.equations.solution_set.Solutions`.

    A batch is input and target f32 [B, *points, 1], weight f32 [B], task_id int32 [B].
    """

    @property
    def points(self) -> tuple[int, ...]:
        """Of the grid."""
        ...

    @property
    def deviation(self) -> float:
        """Of the fields."""
        ...

    def states(self, part: str) -> np.ndarray:
        """float32 [runs, 1 + pairs, *points] of "train", "held_out" or "held_out_fine"."""
        ...

    def train_source(self, batch_size: int, seed: int, shift: int = 0) -> TrainStream:
        """Endless pairs."""
        ...

    def validation_sources(self, batch_size: int) -> Mapping[str, Source]:
        """What is held out."""
        ...

    def finer_source(self, batch_size: int) -> Source:
        """What is held out on twice the grid."""
        ...

    def order(self) -> dict[str, str]:
        """What decides the stream, in words."""
        ...

    def notices(self) -> Sequence[str]:
        """What a person must be told."""
        ...


@dataclass(frozen=True)
class NoSolutions:
    """Of a finished run's solutions their grid and scale: enough for its operator to be used."""

    points: tuple[int, ...]
    deviation: float

    def states(self, part: str) -> np.ndarray:
        """UserError: they are not there."""
        del part
        raise UserError("the run was opened without its solutions: `pangu train` makes them again")

    def train_source(self, batch_size: int, seed: int, shift: int = 0) -> TrainStream:
        """UserError: there is nothing to learn from."""
        del batch_size, seed, shift
        raise UserError("the run was opened without its solutions: `pangu train` trains it further")

    def validation_sources(self, batch_size: int) -> Mapping[str, Source]:
        """None."""
        del batch_size
        return {}

    def finer_source(self, batch_size: int) -> Source:
        """UserError: there is none."""
        del batch_size
        raise UserError("the run was opened without its solutions: `pangu train` measures it")

    def order(self) -> dict[str, str]:
        """Nothing, in no order."""
        return {}

    def notices(self) -> Sequence[str]:
        """Nothing."""
        return ()


def files(data: SolutionData) -> dict[str, bytes]:
    """Name -> contents of what `opened` reads."""
    kept = {"points": list(data.points), "deviation": data.deviation}
    return {FILE: (json.dumps(kept) + "\n").encode()}


def opened(directory: Path) -> NoSolutions:
    """What is left of a run's solutions; UserError where the file is missing or damaged."""
    try:
        kept = json.loads((directory / FILE).read_text("utf-8"))
        return NoSolutions(tuple(map(int, kept["points"])), float(kept["deviation"]))
    except (OSError, ValueError, KeyError, TypeError):
        raise UserError(
            f"{directory / FILE} is missing or damaged: run this run's `pangu train` again to get it back"
        ) from None
