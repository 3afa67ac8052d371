"""The evaluators of a run, each when its turn has come: the held-out loss, and those the recipe names."""

from collections.abc import Callable, Sequence

from jax.sharding import Mesh

from pangu_jax.evaluation.evaluators import Evaluation, HeldOutLoss
from pangu_jax.parallel.layout import Layout
from pangu_jax.training.gradients import make_sums
from pangu_jax.workloads import RunContext, Variables, Workload
from pangu_jax.workloads.evaluator import Evaluator, MeasuredValue


class Validation:
    """What is measured of a model while it trains.

    Args:
      workload: the model family, whose held-out loss is measured as the layout carries the loss out.
      evaluators: measured besides.
      run: dtype, remat policy and kernel.
      layout: of the run.
      mesh: where the variables are.
      batch_size: examples of a batch, over all devices.
      every: steps between validations; 0 validates at the end only.
    """

    def __init__(
        self,
        workload: Workload,
        evaluators: Sequence[Evaluator],
        run: RunContext,
        layout: Layout,
        mesh: Mesh,
        batch_size: int,
        every: int,
    ):
        self._workload, self._every = workload, every
        held_out = HeldOutLoss(workload, make_sums(workload, layout, mesh, run, batch_size))
        self._evaluations = [
            Evaluation(evaluator, workload, run, mesh, batch_size) for evaluator in (held_out, *evaluators)
        ]

    def due(self, step: int, last: bool) -> list[Evaluation]:
        """What to measure after a step; all of it after the last one."""
        return [one for one in self._evaluations if last or is_due(step, one.evaluator.every or self._every)]

    def __call__(
        self, due: Sequence[Evaluation], variables: Variables, on_batch: Callable[[], None]
    ) -> dict[str, MeasuredValue]:
        """Their values, by name."""
        variables = self._workload.evaluated(variables)
        found: dict[str, MeasuredValue] = {}
        for evaluation in due:
            found |= evaluation(variables, on_batch)
        return found


def is_due(step: int, every: int) -> bool:
    """Whether something that is done every so many steps is done after this one; never where that is 0."""
    return every > 0 and step % every == 0
