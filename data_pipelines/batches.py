"""Batches: a mixture of cached tasks as a pure function of (cache, seed, windows read), iterated by Grain.

Window i of the global stream and its corruption depend on nothing but the seed and i. So batch(step) needs no
state, a resumed run takes the next window whatever its batch size, and hosts take their rows of a batch.
"""

import abc
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol, TypeVar

import numpy as np

from data_pipelines.errors import DataError

T = TypeVar("T")
Batch = dict[str, np.ndarray]


class Task(Protocol):
    """One source of windows: one split of a cache, and what an example is made of a record of it.

    Attributes:
      name: in the mixture; index: its `task_id`; size: windows per epoch.
      records: random access to what windows are made of, [size]: serialized ones, or places in a set.
    """

    name: str
    index: int
    size: int
    records: Sequence[Any]

    def window(self, record: Any, rng: np.random.Generator) -> Batch:
        """A window's arrays, and `task_id` int32 []."""
        ...

    def identity(self, record: Any) -> str:
        """Names what the window was made of, for people."""
        ...

    def padding(self) -> Batch:
        """A window without loss, to fill a last batch."""
        ...


class _Stream(abc.ABC):
    """Rows of batches by index; what the trainer calls a Source. `shift` is that of `Mixture`."""

    def __init__(self, batch_size: int, shift: int = 0):
        if batch_size < 1:
            raise DataError(f"batch_size must be at least 1, not {batch_size}")
        self.batch_size, self._shift = batch_size, shift

    @abc.abstractmethod
    def window(self, index: int) -> Batch:
        """Window `index` of the whole stream."""

    def batch(self, step: int, rows: slice | None = None) -> Batch:
        """Arrays [rows, ...] of the global batch `step` (from 0): all rows, or this host's."""
        windows = [self.window(index) for index in self._indices(step)[rows or slice(None)]]
        return {name: np.stack([window[name] for window in windows]) for name in windows[0]}

    def iterator(self, start_step: int = 0, rows: slice | None = None) -> Iterator[Batch]:
        """batch(start_step, rows), batch(start_step + 1, rows), ... made ahead on two threads."""
        import grain

        steps = grain.MapDataset.range(start_step, self._last_step())
        made = steps.map(lambda step: self.batch(step, rows))
        yield from made.to_iter_dataset(grain.ReadOptions(num_threads=2, prefetch_buffer_size=8))

    def _indices(self, step: int) -> range:
        """Of the windows of batch `step`."""
        first = step * self.batch_size + self._shift
        return range(first, first + self.batch_size)

    def _last_step(self) -> int:
        return 2**62


class Mixture(_Stream):
    """The training stream: endless, tasks interleaved in proportion to their weights.

    Every task is shuffled anew each epoch, and every window corrupted anew each time it comes round.

    Args:
      tasks: with a weight each (> 0), by name.
      batch_size: windows per global batch.
      seed: of the order and of the corruption.
      shift: batch `step` begins at window step * batch_size + shift.
    """

    def __init__(self, tasks: Mapping[str, tuple[Task, float]], batch_size: int, seed: int, shift: int = 0):
        import grain

        super().__init__(batch_size, shift)
        for name, (task, _) in tasks.items():
            if task.size == 0:
                raise DataError(f"the corpus is too small for the task {name!r}: it fills no window")
        parents, windows = [], []
        for task, _ in tasks.values():
            # One seed per task, so that adding a task does not change the others' order.
            own = int(np.random.SeedSequence([seed, task.index]).generate_state(1)[0])
            records = grain.MapDataset.source(task.records).shuffle(seed=own).repeat()
            parents.append(records.map(lambda record, task=task: (task, record)))
            windows.append(parents[-1].random_map(lambda pair, rng: pair[0].window(pair[1], rng), seed=own))
        weights = [weight for _, weight in tasks.values()]
        self._records = grain.MapDataset.mix(parents, weights)
        self._windows = grain.MapDataset.mix(windows, weights)
        self._sizes = {task.name: task.size for task, _ in tasks.values()}
        self._shares = [int(weight * (100 / min(weights))) for weight in weights]  # as Grain rounds them

    def window(self, index: int) -> Batch:
        return _there(self._windows[index])

    def identity(self, step: int) -> list[str]:
        """The pieces of every row of batch `step`."""
        pairs = (_there(self._records[index]) for index in self._indices(step))
        return [task.identity(record) for task, record in pairs]

    def epochs(self, step: int) -> dict[str, int]:
        """How often all windows of each task, by its name, have been read when batch `step` is done."""
        counts = zip(self._sizes.items(), self._counts(self._indices(step).stop), strict=True)
        return {name: count // size for (name, size), count in counts}

    def _counts(self, windows: int) -> Iterator[int]:
        """How many of the first `windows` are of each task: Grain's rule, which needs no look at them."""
        share_left = sum(self._shares)
        for share in self._shares:
            others = windows * (share_left - share) // share_left
            yield windows - others
            windows, share_left = others, share_left - share


class ValidationBatches(_Stream):
    """A split once, in the order of the cache, corrupted the same way each time; len() batches.

    The rows after the last window are padding without loss. `limit` keeps the first so many windows:
    all when None, none when 0.
    """

    def __init__(self, task: Task, batch_size: int, seed: int = 0, limit: int | None = None):
        super().__init__(batch_size)
        self.task, self._seed = task, seed
        self.windows = task.size if limit is None else min(task.size, limit)

    def __len__(self) -> int:
        return -(-self.windows // self.batch_size)

    def _last_step(self) -> int:
        return len(self)

    def window(self, index: int) -> Batch:
        if index >= self.windows:
            return self.task.padding()
        rng = np.random.Generator(np.random.Philox(key=[self._seed, index]))
        return self.task.window(self.task.records[index], rng)

    def identity(self, step: int) -> list[str]:
        """The pieces of every row of batch `step` that is not padding."""
        indices = (index for index in self._indices(step) if index < self.windows)
        return [self.task.identity(self.task.records[index]) for index in indices]


def _there(element: T | None) -> T:
    """An element of a grain dataset; None is one that a filter left out, and there is no filter."""
    if element is None:
        raise AssertionError("grain left out an element")
    return element
