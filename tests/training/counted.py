"""Workloads that count how often each example was learnt, in their extra state and so in checkpoints."""

import gin
import jax.numpy as jnp
import numpy as np

from examples.digits import Digits, DigitSource
from pangu_jax.workloads import Updates
from pangu_jax.workloads.language import LanguageModel


class _Counted:
    """Mixed into a workload whose batches have "number" [B], that of each example by its identity."""

    count: int

    def init(self, key):
        return super().init(key)._replace(extra={"seen": jnp.zeros(self.count, jnp.int32)})

    def logical_axes(self):
        return super().logical_axes()._replace(extra={"seen": (None,)})

    def loss(self, variables, batch, keys, run):
        sums = super().loss(variables, batch, keys, run)
        seen = jnp.zeros(self.count, jnp.int32).at[batch["number"]].add(1)
        return sums._replace(updates=Updates({"seen": seen}))

    def after_step(self, variables, updates):
        return {"seen": variables.extra["seen"] + updates.totals["seen"]}

    def validation_sources(self, batch_size):
        return {}


def _numbered(source, number_of):
    """Its batches with the number of each example, told from what it is called and from nothing else."""
    plain, iterate = source.batch, source.iterator

    def batch(step, rows=None):
        names = source.identity(step)[rows or slice(None)]
        return plain(step, rows) | {"number": np.array([number_of(name) for name in names], np.int32)}

    def iterator(step, rows=None):
        for number, _ in enumerate(iterate(step, rows), start=step):
            yield batch(number, rows)

    source.batch, source.iterator = batch, iterator
    return source


@gin.configurable
class CountedDigits(_Counted, Digits):
    """The first digits of the training split."""

    def __init__(self, count: int = 48, text: str = "a"):
        super().__init__(hidden=8)
        self.count, self.text = count, text
        self.train = tuple(array[:count] for array in self.train)

    def order(self):
        return {"text": self.text}

    def train_source(self, batch_size, seed, shift=0):
        source = DigitSource(*self.train, batch_size, seed, shift)
        return _numbered(source, lambda name: int(name.removeprefix("digit ")))


@gin.configurable
class CountedLanguage(_Counted, LanguageModel):
    """Windows of a corpus, those of each task after those of the one before."""

    @property
    def tasks(self):
        return [self.data.prepared.task(name, "train") for name in self.data.objectives]

    @property
    def count(self):
        return sum(task.size for task in self.tasks)

    def train_source(self, batch_size, seed, shift=0):
        names = [task.identity(record) for task in self.tasks for record in task.records]
        numbers = {name: number for number, name in enumerate(names)}
        assert len(numbers) == len(names)
        return _numbered(super().train_source(batch_size, seed, shift), numbers.__getitem__)
