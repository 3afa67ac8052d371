"""Losses that compare the examples of a batch with each other: what the trainer must know of them.

Such a loss is no sum over examples: cut into microbatches, each example has fewer others to be told from, and
the sum of the parts' losses is another loss. So a workload says what it makes of each example by itself, and
what comes of all of them together; the trainer makes the rows of the whole batch before it compares them
(`pangu_jax.training.gradients`), as in GradCache (Gao et al., arXiv 2101.06983).
"""

from abc import abstractmethod
from typing import final

import jax

from pangu_jax.workloads import Batch, RunContext, Sums, Tree, Updates, Variables, Workload


class ComparedWorkload(Workload):
    """A family whose loss compares the examples of a batch; see `Workload` for the rest of it."""

    @abstractmethod
    def rows(
        self, variables: Variables, batch: Batch, keys: jax.Array | None, run: RunContext
    ) -> tuple[Tree, Sums]:
        """Each example by itself: what is to be compared, and what its loss is without any other.

        Called twice for the same examples and keys where a batch is cut, so nothing else may be random.

        Returns:
          (rows, sums): arrays [examples, ...] that are differentiated, among them all that `compared` needs
          of the batch, its weights too; and `Sums` whose weight is 0 (`compared` counts the examples).
        """

    @abstractmethod
    def compared(self, variables: Variables, rows: Tree, run: RunContext) -> Sums:
        """The rows of a whole batch, told from each other through `run.placement`.

        Differentiated with respect to the rows and to `variables.params`. In a manual layout the rows are
        this device's, and so are the sums.
        """

    @final
    def loss(self, variables: Variables, batch: Batch, keys: jax.Array | None, run: RunContext) -> Sums:
        """Both, added."""
        rows, alone = self.rows(variables, batch, keys, run)
        return added(alone, self.compared(variables, rows, run))


def added(alone: Sums, together: Sums) -> Sums:
    """The sums of both parts of a loss; metrics and updates have names of their own in each."""
    return Sums(
        alone.loss + together.loss,
        alone.weight + together.weight,
        alone.metrics | together.metrics,
        Updates(
            alone.updates.totals | together.updates.totals,
            alone.updates.rows | together.updates.rows,
        ),
    )
