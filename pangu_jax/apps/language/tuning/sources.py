"""Labelled rows as batches: a pure function of the rows, the seed and the examples read."""

from collections.abc import Iterator

import numpy as np

from pangu_jax.apps.language.tuning.examples import Rows


class TrainSource:
    """Endless batches: each example is drawn once before any is drawn again.

    The draws are those of version 0.1, one permutation after the other from one generator. Those made are
    kept, so that any step can be asked for.

    Args:
      rows: the examples.
      batch_size: rows per step.
      seed: of the order.
      split: their name, for messages.
      shift: the batch of a step begins at row step * batch_size + shift of those drawn.
    """

    def __init__(self, rows: Rows, batch_size: int, seed: int, split: str = "train", shift: int = 0):
        self._rows, self._batch_size, self._split, self._shift = rows, batch_size, split, shift
        self._width = rows.width()
        self._random = np.random.default_rng(seed)
        self._order = np.zeros(0, np.int32)  # of all permutations so far

    def __len__(self) -> int:
        """Batches in which each example is met once."""
        return -(-len(self._rows.answer_N) // self._batch_size)

    def batch(self, step: int, rows: slice | None = None) -> dict[str, np.ndarray]:
        """The rows of a step, and in `step` which one it is, for what changes with it."""
        numbers = self._numbers(step)[rows or slice(None)]
        whole = {"counted": np.ones(len(numbers), np.float32), "step": np.full(len(numbers), step, np.int32)}
        return self._rows.batch(numbers, self._width) | whole

    def iterator(self, start_step: int, rows: slice | None = None) -> Iterator[dict[str, np.ndarray]]:
        """batch(start_step), batch(start_step + 1), ..."""
        step = start_step
        while True:
            yield self.batch(step, rows)
            step += 1

    def identity(self, step: int) -> list[str]:
        """Such as "train_0 17": example 17 of that split, from 0."""
        return [f"{self._split} {number}" for number in self._numbers(step)]

    def epochs(self, step: int) -> dict[str, int]:
        """How often every example has been met when a step is done."""
        return {self._split: self._end(step) // len(self._rows.answer_N)}

    def _end(self, step: int) -> int:
        return (step + 1) * self._batch_size + self._shift

    def _numbers(self, step: int) -> np.ndarray:
        end = self._end(step)
        count = len(self._rows.answer_N)
        while len(self._order) < end:
            more = [self._random.permutation(count) for _ in range(max(1, len(self._order) // count))]
            self._order = np.concatenate([self._order, *more]).astype(np.int32)
        return self._order[end - self._batch_size : end]


class HeldOutSource:
    """Each example once, in batches of rows about as long. The last is filled up with rows that do not count.

    Args:
      rows: the examples.
      batch_size: rows per batch.
      split: their name, for messages.
    """

    def __init__(self, rows: Rows, batch_size: int, split: str = "dev"):
        self._rows, self._batch_size, self._split = rows, batch_size, split
        self.order_N = np.argsort(rows.needed_N, kind="stable")

    def __len__(self) -> int:
        return -(-len(self.order_N) // self._batch_size)

    def batch(self, step: int, rows: slice | None = None) -> dict[str, np.ndarray]:
        """Batch number `step`, no wider than its rows need."""
        own_N = self._numbers(step)
        numbers = np.resize(own_N, self._batch_size)
        counted_B = (np.arange(self._batch_size) < len(own_N)).astype(np.float32)
        here = rows or slice(None)
        batch = self._rows.batch(numbers[here], self._rows.width(own_N))
        return batch | {"counted": counted_B[here]}

    def iterator(self, start_step: int, rows: slice | None = None) -> Iterator[dict[str, np.ndarray]]:
        """Those from `start_step` on."""
        return (self.batch(step, rows) for step in range(start_step, len(self)))

    def identity(self, step: int) -> list[str]:
        """Such as "dev_0 17"."""
        return [f"{self._split} {number}" for number in self._numbers(step)]

    def _numbers(self, step: int) -> np.ndarray:
        return self.order_N[step * self._batch_size : (step + 1) * self._batch_size]
