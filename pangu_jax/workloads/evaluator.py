"""Evaluators: what is measured of a model besides its loss, in training and by `pangu eval` alike."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from pangu_jax.workloads import NOTHING, Batch, RunContext, Source, Tree, Updates, Variables, Workload


class MeasuredValue(NamedTuple):
    """A measured number and its unit, such as "percent" or "nats per token"; "" where it has none."""

    value: float
    unit: str = ""


# measure(variables, batch, run) over all batches of some sources: totals add up, rows are laid end to end.
Measure = Callable[[Variables, Batch, RunContext], Updates]
Collect = Callable[[Measure, Sequence[Source]], Updates]


class Evaluator(ABC):
    """Adds up over batches, then finishes: a mean is only one kind of it.

    What `measure` gives is a tree of totals, which add up over examples, and of rows, one per example; so how
    a batch is split over devices changes nothing. A source whose last batch is not full fills it up and marks
    what does not count, by an array of its own that `measure` reads.

    Attributes:
      every: optimizer steps between two evaluations in training; 0 follows `train.validate_every`. The last
        step is always evaluated.
    """

    every: int = 0

    def attach(self, workload: Workload) -> None:
        """Called once, with what is measured, before all else: an evaluator of a family asks it for its data
        and features.

        Raises:
          UserError: it is not for this workload.
        """
        del workload

    @abstractmethod
    def sources(self, batch_size: int) -> Sequence[Source]:
        """Finite sources of what is measured, in batches of `batch_size` examples over all devices."""

    def begin(self, batch_size: int, collect: Collect) -> Tree:
        """What `measure` needs besides a batch, as arrays: the features of labelled examples, say.

        Args:
          batch_size: as for `sources`.
          collect: goes over sources of the evaluator's own with a function that it jits.
        """
        del batch_size, collect
        return NOTHING

    @abstractmethod
    def measure(self, variables: Variables, batch: Batch, begun: Tree, run: RunContext) -> Updates:
        """Totals and rows of a batch; jitted."""

    @abstractmethod
    def finish(self, measured: Updates, begun: Tree) -> Mapping[str, MeasuredValue]:
        """Named values, such as {"knn/accuracy": MeasuredValue(93.1, "percent")}, of host arrays."""
