"""Carrying out evaluators (`workloads/evaluator.py`) on a mesh: one way, in training and afterwards."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from pangu_jax.parallel import feed, rules
from pangu_jax.parallel.constraints import ConstraintPlacement
from pangu_jax.workloads import Batch, RunContext, Source, Sums, Tree, Updates, Variables, Workload
from pangu_jax.workloads.evaluator import Evaluator, Measure, MeasuredValue


class Collector:
    """Goes over sources with what is measured of variables; what it compiled is kept.

    Whatever the layout of training, the compiler partitions what is measured; parameters stay where they are.

    Args:
      workload: the model family.
      run: dtype and kernel.
      mesh: where the variables are.
      batch_size: examples of a batch, over all devices.
    """

    def __init__(self, workload: Workload, run: RunContext, mesh: Mesh, batch_size: int):
        self.batch_size = batch_size
        self._workload, self._mesh = workload, mesh
        self._run = run._replace(placement=ConstraintPlacement(mesh))
        self._jitted: dict[Any, Callable[..., Updates]] = {}

    def __call__(
        self,
        measure: Callable[..., Updates],
        variables: Variables,
        sources: Sequence[Source],
        begun: tuple[Tree, ...] = (),
        on_batch: Callable[[], None] = lambda: None,
    ) -> Updates:
        """Totals added up and rows laid end to end, on the host.

        Args:
          measure: (variables, batch, *begun, run) -> totals and rows; jitted.
          variables: on the mesh, in the structure of the workload's.
          sources: finite ones.
          begun: arrays that every device has.
          on_batch: called after each batch.
        """
        step = self._compiled(measure, len(begun))
        totals: Tree = None
        rows: list[Tree] = []
        for source in sources:
            batches = feed.batches(source, self._mesh, self.batch_size, 0, self._workload.batch_axes())
            for _ in range(len(source)):
                found = jax.device_get(step(variables, next(batches), *begun))
                totals = found.totals if totals is None else jax.tree.map(np.add, totals, found.totals)
                rows.append(found.rows)
                on_batch()
        return Updates(totals, jax.tree.map(lambda *parts: np.concatenate(parts), *rows) if rows else {})

    def _compiled(self, measure: Callable[..., Updates], begun: int) -> Callable[..., Updates]:
        key = getattr(measure, "__func__", measure)  # a bound method is a new object each time
        if key not in self._jitted:
            whole = rules.replicated(self._mesh)
            shardings = rules.storage_shardings(self._mesh, self._workload.logical_axes())
            self._jitted[key] = jax.jit(
                lambda variables, batch, *begun: measure(variables, batch, *begun, self._run),
                # Batches are where `feed` placed them: an evaluator's may have arrays of its own.
                in_shardings=(shardings, None, *[whole] * begun),
                out_shardings=whole,
            )
        return self._jitted[key]


class Evaluation:
    """An evaluator at work: what it compiled and read is kept from one evaluation to the next.

    Args:
      evaluator: what is measured.
      workload: the model family.
      run: dtype and kernel.
      mesh: where the variables are.
      batch_size: examples of a batch, over all devices.
    """

    def __init__(
        self, evaluator: Evaluator, workload: Workload, run: RunContext, mesh: Mesh, batch_size: int
    ):
        self.evaluator = evaluator
        self._collector = Collector(workload, run, mesh, batch_size)
        self._sources: Sequence[Source] | None = None
        evaluator.attach(workload)

    def __call__(
        self, variables: Variables, on_batch: Callable[[], None] = lambda: None
    ) -> dict[str, MeasuredValue]:
        """The values of these variables, as `Workload.evaluated` gives them; {} where nothing is held out.

        Args:
          variables: on the mesh.
          on_batch: called after each batch, as a sign of life.
        """
        collector, evaluator = self._collector, self.evaluator
        if self._sources is None:
            sources = evaluator.sources(collector.batch_size)
            self._sources = [source for source in sources if len(source)]

        def collect(measure: Measure, sources: Sequence[Source]) -> Updates:
            return collector(measure, variables, sources, on_batch=on_batch)

        if not self._sources:
            return {}
        begun = evaluator.begin(collector.batch_size, collect)
        measured = collector(evaluator.measure, variables, self._sources, (begun,), on_batch)
        return dict(evaluator.finish(measured, begun))


class HeldOutLoss(Evaluator):
    """The loss of a workload's held-out tasks, and its metrics: sums over finite sources.

    Args:
      workload: the model family.
      sums: (variables, batch) -> sums, as a layout carries them out; the workload's own loss when None.
    """

    def __init__(self, workload: Workload, sums: Callable[[Variables, Batch], Sums] | None = None):
        self._workload, self._sums = workload, sums

    def sources(self, batch_size: int) -> Sequence[Source]:
        return list(self._workload.validation_sources(batch_size).values())

    def measure(self, variables: Variables, batch: Batch, begun: Tree, run: RunContext) -> Updates:
        del begun
        if self._sums:
            sums = self._sums(variables, batch)
        else:
            sums = self._workload.loss(variables, batch, None, run)
        return Updates({"loss": (sums.loss, sums.weight), "metrics": sums.metrics})

    def finish(self, measured: Updates, begun: Tree) -> Mapping[str, MeasuredValue]:
        del begun
        means = {"loss": measured.totals["loss"], **measured.totals["metrics"]}
        return {
            f"validation_{name}": MeasuredValue(float(value / weight), _unit(self._workload, name))
            for name, (value, weight) in means.items()
            if weight > 0
        }


def _unit(workload: Workload, metric: str) -> str:
    """The parts of a loss have its unit; other metrics are shares."""
    return workload.loss_unit if metric.partition("/")[0] == "loss" else ""
