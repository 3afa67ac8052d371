"""Runs without a directory: nothing is stored, and those of one shape share a compiled start and step."""

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from pangu_jax.errors import UserError
from pangu_jax.parallel import layout as layouts
from pangu_jax.runs.inference_layout import of_mesh
from pangu_jax.training import step
from pangu_jax.training.optimizers import Optimizer
from pangu_jax.training.selection import Best, Selection
from pangu_jax.training.step import TrainState, TrainStep
from pangu_jax.training.steps import Metrics, advance
from pangu_jax.training.validation import is_due
from pangu_jax.workloads import RunContext, Variables, Workload

Row = dict[str, Any]
Evaluate = Callable[[Variables], Mapping[str, float]]


class Finished(NamedTuple):
    """What a run leaves.

    Attributes:
      variables: of the step that counts.
      step: that step.
      history: rows of step, mean loss since the row before, and what was evaluated.
    """

    variables: Variables
    step: int
    history: list[Row]


class InMemoryRuns:
    """Runs of workloads that differ in data, base and seed alone.

    Args:
      workload: one of them; its loss is the one that is compiled.
      optimizer: its update.
      run: dtype, remat policy and kernel.
      mesh: where they run.
      steps: optimizer steps.
      batch_size: examples per step.
      evaluate_every: steps between evaluations; the last step is always evaluated.
      selection: which step counts.

    Raises:
      UserError: the mesh does not divide the model or the batch.
    """

    def __init__(
        self,
        workload: Workload,
        optimizer: Optimizer,
        run: RunContext,
        mesh: Mesh,
        *,
        steps: int,
        batch_size: int,
        evaluate_every: int,
        selection: Selection | None,
    ):
        layout = of_mesh(mesh.shape)
        if problems := layouts.check(layout, batch_size, workload.dimensions()):
            raise UserError("; ".join(f"{name}: {what}" for name, what in problems))
        self._mesh = mesh
        self._start = step.make_start(workload, optimizer, mesh)
        self.jitted = step.make_train_step(
            workload, optimizer, run, layout, mesh, batch_size=batch_size, seed=0
        ).jitted
        self._steps, self._batch_size = steps, batch_size
        self._every, self._selection = evaluate_every, selection

    def __call__(
        self,
        workload: Workload,
        seed: int,
        evaluate: Evaluate | None = None,
        on_row: Callable[[Row], None] | None = None,
    ) -> Finished:
        """Train one of them from the beginning.

        Args:
          workload: whose data and base are taken.
          seed: of parameters, data order and dropout.
          evaluate: what is measured of the variables; the loss is recorded anyhow.
          on_row: called with each row of the history.

        Raises:
          UserError: a loss is not finite, or the selection's metric is not measured.
        """
        given = step.restored_given(workload, self._mesh)
        state, constants = self._start(jax.random.key(seed), given)
        keeper = _InMemory(self._every, constants, evaluate, self._selection if evaluate else None, on_row)
        batches = workload.train_source(self._batch_size, seed).iterator(0)
        train_step = TrainStep(self.jitted, constants, seed)
        state, last = advance(train_step, workload.phase, batches, state, 0, self._steps, keeper)
        params, extra = keeper.kept or (state.params, state.extra)
        return Finished(Variables(params, extra, constants), keeper.best.step or last, keeper.history)


class _InMemory:
    """Keeps the history and the best step (`pangu_jax.training.steps.Keeper`)."""

    def __init__(
        self,
        every: int,
        constants: Any,
        evaluate: Evaluate | None,
        selection: Selection | None,
        on_row: Callable[[Row], None] | None,
    ):
        self._every, self._constants, self._evaluate, self._on_row = every, constants, evaluate, on_row
        self._losses: list[jax.Array] = []
        self.best = Best(selection)
        self.history: list[Row] = []
        self.kept: tuple[Any, Any] | None = None

    def record(self, step: int, metrics: Metrics, finished: float | None = None) -> None:
        del step, finished
        self._losses.append(metrics["loss"])  # read when it is shown: nothing waits for it

    def stops_after(self, step: int) -> bool:
        del step
        return False

    def evaluates_after(self, step: int, last: bool) -> bool:
        return last or is_due(step, self._every)

    def saves_after(self, step: int) -> bool:
        del step
        return False

    def evaluate(self, step: int, state: TrainState, last: bool) -> tuple[bool, bool]:
        del last
        row: Row = {"step": step, "loss": float(np.mean([float(loss) for loss in self._losses]))}
        self._losses = []
        if not math.isfinite(row["loss"]):
            raise UserError(f"the loss at step {step} is not finite; lower the learning rate")
        if self._evaluate:
            values = self._evaluate(Variables(state.params, state.extra, self._constants))
            self.best.require_measured(values)
            self.best.see(step, values)
            row |= values
        self.history.append(row)
        if self._on_row:
            self._on_row(row)
        return self.best.step == step, self.best.enough

    def save(self, step: int, state: TrainState) -> None:
        if self.best.step == step:  # copied: the next step reuses the state's buffers
            self.kept = jax.tree.map(jnp.copy, (state.params, state.extra))

    def pause(self) -> None:
        pass
