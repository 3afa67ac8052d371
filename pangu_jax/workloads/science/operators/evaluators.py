"""What is measured of operators besides the loss."""

from collections.abc import Mapping, Sequence

import gin
import jax.numpy as jnp

from pangu_jax.errors import UserError
from pangu_jax.workloads import Batch, RunContext, Source, Tree, Updates, Variables, Workload
from pangu_jax.workloads.evaluator import Evaluator, MeasuredValue
from pangu_jax.workloads.science.operators.workload import OperatorModel


@gin.configurable(module="pangu_jax.workloads.science.operators")
class FinerGrid(Evaluator):
    """The error on twice the grid, from which nothing was learnt.

    Args:
      every: steps between two measurements; 0 follows train.validate_every.
    """

    def __init__(self, every: int = 0):
        self.every = every
        self._workload: OperatorModel | None = None

    def attach(self, workload: Workload) -> None:
        """UserError unless it is an `OperatorModel`."""
        if not isinstance(workload, OperatorModel):
            raise UserError("FinerGrid measures an @OperatorModel(): take it out of train.evaluators")
        self._workload = workload

    def sources(self, batch_size: int) -> Sequence[Source]:
        """Held-out pairs on twice the grid."""
        assert self._workload is not None
        return [self._workload.data.finer_source(batch_size)]

    def measure(self, variables: Variables, batch: Batch, begun: Tree, run: RunContext) -> Updates:
        """Sums of errors and of weights."""
        del begun
        assert self._workload is not None
        weight_B = batch["weight"].astype(jnp.float32)
        error_B = self._workload.errors(variables, batch, run)
        return Updates({"error": jnp.sum(error_B * weight_B), "count": jnp.sum(weight_B)})

    def finish(self, measured: Updates, begun: Tree) -> Mapping[str, MeasuredValue]:
        """Their mean."""
        del begun
        error, count = float(measured.totals["error"]), float(measured.totals["count"])
        return {"finer_grid": MeasuredValue(error / max(count, 1.0), "relative L2")}
