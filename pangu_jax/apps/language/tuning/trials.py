"""Tuning a model many times, in memory: splits and seeds of one shape share their compiled programs."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax

from pangu_jax.apps.language.tuning import examples
from pangu_jax.apps.language.tuning.base import InMemoryBase
from pangu_jax.apps.language.tuning.examples import Labelled, Rows, RowShape, TaskRows
from pangu_jax.apps.language.tuning.measuring import measure_rows
from pangu_jax.apps.language.tuning.methods import asked_by
from pangu_jax.apps.language.tuning.settings import Fit, Tuning
from pangu_jax.apps.language.tuning.workload import TunedLanguageModel
from pangu_jax.models.parameters import Tree
from pangu_jax.models.placement import OneDevice
from pangu_jax.parallel.constraints import ConstraintPlacement
from pangu_jax.parallel.layout import Layout
from pangu_jax.parallel.mesh import make_mesh
from pangu_jax.training.in_memory import InMemoryRuns
from pangu_jax.training.selection import Selection
from pangu_jax.workloads import RunContext, Variables
from pangu_jax.workloads.language.model.architecture import Architecture


class Tuned(NamedTuple):
    """What a trial leaves.

    Attributes:
      params: complete parameters: forward, decoding and scoring take them as they are.
      trainable: what learnt.
      history: rows of step, loss and, where dev was measured, dev_accuracy (percent) and dev_loss.
      step: the step whose weights these are.
    """

    params: Tree
    trainable: Tree
    history: list[dict[str, Any]]
    step: int


class Trials:
    """Ways of tuning one model that differ in their examples and seed alone.

    With dev examples, the weights kept are those of the best accuracy there, and of the lower loss among
    equals. A trial is a pure function of its arguments.

    Args:
      config: the model's shape.
      params: its complete fp32 parameters; they are not changed.
      tuning: what learns, and by which loss.
      fit: for how long.
      shape: rows are padded to, which all trials must share; that of the first one's examples when None.
      run: placement and dtype.
    """

    def __init__(
        self,
        config: Architecture,
        params: Tree,
        tuning: Tuning = Tuning(),  # noqa: B008 - immutable
        fit: Fit = Fit(),  # noqa: B008 - immutable
        shape: RowShape | None = None,
        run: RunContext = RunContext(OneDevice()),  # noqa: B008 - immutable
    ):
        self._base, self._tuning, self._fit, self._run = InMemoryBase(config, params), tuning, fit, run
        self._shape = shape
        self._runs: InMemoryRuns | None = None

    @property
    def programs(self) -> int:
        """Train steps compiled so far: one for each height that a backward pass ended at."""
        return self._runs.jitted._cache_size() if self._runs else 0

    def __call__(
        self,
        train: Sequence[Labelled],
        dev: Sequence[Labelled] | None = None,
        seed: int = 0,
        on_row: Callable[[dict[str, Any]], None] | None = None,
    ) -> Tuned:
        """One trial.

        Args:
          train: examples to learn, drawn without replacement until all were, and over again.
          dev: examples to choose the step by.
          seed: of what is fresh, of the order of examples, of dropout and of random masks.
          on_row: called with each row of the history.

        Raises:
          UserError: examples as in `examples.shape_of`, or larger than the shape; a loss that is no number.
        """
        config, tuning = self._base.config, self._tuning
        train, dev = (asked_by(tuning.method, config, some) for some in (train, dev))
        self._shape = self._shape or examples.shape_of([*train, *dev])
        rows = TaskRows.of(train, dev, self._shape)
        workload = TunedLanguageModel(self._base, tuning, rows, self._fit.steps, self._fit.batch_size)

        def complete(variables: Variables) -> Tree:
            return tuning.method.merge(config, variables.params, variables.constants["frozen"])

        def measured(dev_rows: Rows, variables: Variables) -> Mapping[str, float]:
            found = measure_rows(config, complete(variables), dev_rows, tuning, self._run)
            return {"dev_accuracy": found.accuracy, "dev_loss": found.loss}

        self._runs = self._runs or self._compiled(workload)
        done = self._runs(workload, seed, partial(measured, rows.dev) if rows.dev else None, on_row)
        return Tuned(complete(done.variables), done.variables.params, done.history, done.step)

    def _compiled(self, workload: TunedLanguageModel) -> InMemoryRuns:
        placement = self._run.placement
        if isinstance(placement, ConstraintPlacement):
            mesh = placement.mesh
        else:
            (device,) = jax.tree.leaves(self._base.params)[0].devices()
            mesh = make_mesh(Layout(data=1), [device])
        return InMemoryRuns(
            workload,
            workload.optimizer(self._fit.made()),
            self._run,
            mesh,
            steps=self._fit.steps,
            batch_size=self._fit.batch_size,
            evaluate_every=self._fit.evaluate_every,
            selection=Selection("dev_accuracy", "max", self._fit.patience, "dev_loss"),
        )
