"""Pairs of fields, one lead apart, as batches: a pure function of seed and pairs read."""

import dataclasses
import functools
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from data_pipelines import cache
from data_pipelines.batches import Batch, Mixture, ValidationBatches
from data_pipelines.equations import solving
from data_pipelines.equations.problem import Problem

NOTED = 0.01  # relative difference of solutions on two grids from which on it is said


@dataclasses.dataclass
class SolutionTask:
    """Some simulations, as `data_pipelines.batches` takes them.

    Attributes:
      name: in the mixture.
      index: its `task_id`.
      states_RxTxS: float32 [runs, 1 + pairs, *points].
      problem: whose solutions they are.
      symmetries: whether each pair is shown shifted around the period, and turned and mirrored.
      size: pairs.
      records: their numbers.
    """

    name: str
    index: int
    states_RxTxS: np.ndarray
    problem: Problem
    symmetries: bool = False
    size: int = dataclasses.field(init=False)
    records: Sequence[int] = dataclasses.field(init=False)

    def __post_init__(self):
        runs, times = self.states_RxTxS.shape[:2]
        self.size = runs * (times - 1)
        self.records = range(self.size)

    def window(self, record: int, rng: np.random.Generator) -> Batch:
        """input and target float32 [*points, 1] · weight float32 [] · task_id int32 []."""
        run, time = divmod(record, self.problem.pairs)
        pair = self.states_RxTxS[run, time : time + 2]
        if self.symmetries:
            pair = moved(pair, self.problem.equation, rng)
        return {
            "input": np.ascontiguousarray(pair[0][..., None]),
            "target": np.ascontiguousarray(pair[1][..., None]),
            "weight": np.asarray(1, np.float32),
            "task_id": np.asarray(self.index, np.int32),
        }

    def identity(self, record: int) -> str:
        """Names a pair."""
        run, time = divmod(record, self.problem.pairs)
        return f"simulation {run}, pair {time}"

    def padding(self) -> Batch:
        """A pair without weight."""
        field = np.ones((*self.states_RxTxS.shape[2:], 1), np.float32)
        return {
            "input": field,
            "target": field,
            "weight": np.asarray(0, np.float32),
            "task_id": np.asarray(self.index, np.int32),
        }


def moved(pair_2xS: np.ndarray, equation: str, rng: np.random.Generator) -> np.ndarray:
    """Both fields of a pair by one symmetry of their equation, which is a solution again.

    A shift around the period; of Burgers' equation x -> -x with u -> -u; of vorticity in the plane a quarter
    turn, and a mirror with the sign changed.
    """
    space = pair_2xS.ndim - 1
    axes = tuple(range(1, space + 1))
    pair = np.roll(pair_2xS, rng.integers(0, pair_2xS.shape[1], space), axes)
    if equation == "navier_stokes":
        pair = np.rot90(pair, int(rng.integers(0, 4)), (1, 2))
    return -np.flip(pair, 1) if rng.integers(0, 2) else pair


@dataclasses.dataclass(frozen=True)
class Solutions:
    """An equation's solutions as a recipe asks for them; simulated when they are first needed.

    Attributes:
      problem: what is simulated.
      symmetries: whether training shows symmetric copies.
      cache_root: where the cache is.
    """

    problem: Problem
    symmetries: bool
    cache_root: Path

    @property
    def points(self) -> tuple[int, ...]:
        """Of the grid."""
        return (self.problem.points,) * self.problem.space

    @functools.cached_property
    def solved(self) -> cache.Cache:
        """The cache of the solutions, simulated first where it is not there.

        Raises:
          DataError: the simulation does not resolve its solution.
        """
        return solving.solutions(self.problem, self.cache_root)

    @functools.cached_property
    def deviation(self) -> float:
        """Of all that is learnt from."""
        return float(np.std(self.states("train"), dtype=np.float64))

    def states(self, part: str) -> np.ndarray:
        """float32 [runs, 1 + pairs, *points] of "train", "held_out" or "held_out_fine"."""
        return np.load(self.solved.root / f"{part}.npy", mmap_mode="r", allow_pickle=False)

    def train_source(self, batch_size: int, seed: int, shift: int = 0) -> Mixture:
        """Endless pairs."""
        name = self.problem.equation
        task = SolutionTask(name, 0, self.states("train"), self.problem, self.symmetries)
        return Mixture({name: (task, 1.0)}, batch_size, seed, shift)

    def validation_sources(self, batch_size: int) -> dict[str, ValidationBatches]:
        """Pairs of held-out simulations."""
        task = SolutionTask(self.problem.equation, 0, self.states("held_out"), self.problem)
        return {task.name: ValidationBatches(task, batch_size)}

    def finer_source(self, batch_size: int) -> ValidationBatches:
        """The same simulations on twice the grid, which nothing has learnt from."""
        task = SolutionTask(self.problem.equation, 0, self.states("held_out_fine"), self.problem)
        return ValidationBatches(task, batch_size)

    def order(self) -> dict[str, str]:
        """The solutions by their hash, and whether symmetric copies are shown."""
        return {"solutions": self.solved.root.name, "symmetries": str(self.symmetries)}

    def notices(self) -> list[str]:
        """Where the grid resolves the solutions to no better than a hundredth: by how much it does not."""
        error = self.solved.manifest["resolution_error"]
        if error < NOTED:
            return []
        return [
            f"{self.problem.equation}: solutions on {self.problem.points} points a side differ by "
            f"{error:.1%} from those on twice as many: a model on the finer grid is measured by those"
        ]
