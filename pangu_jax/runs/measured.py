"""The newest values of a run, a line each: losses of tasks beside their baselines, and other metrics."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from pangu_jax.runs.units import VALIDATION, of_trainer, unit_of

OF_THE_TRAINER = frozenset(of_trainer("", ""))


class TaskLosses(NamedTuple):
    """Losses of one task, in the run's unit of loss; None where it was not measured.

    Attributes:
      name: of the task.
      train: at the last logged step.
      validation: held out, as last validated.
      baselines: name -> loss of predictors that are no model, on the same held-out examples.
    """

    name: str
    train: float | None
    validation: float | None
    baselines: Mapping[str, float]

    @property
    def perplexity(self) -> float | None:
        """exp of the held-out loss, where that is in nats per token; infinity where it overflows."""
        if self.validation is None:
            return None
        return math.exp(self.validation) if self.validation < 700 else math.inf

    @property
    def beats_baselines(self) -> bool | None:
        """Whether the held-out loss is below all baselines there are; None without either."""
        if self.validation is None or not self.baselines:
            return None
        return self.validation < min(self.baselines.values())


class Metric(NamedTuple):
    """A metric besides the loss; None where it was not measured.

    Attributes:
      name: without the prefix of held-out metrics.
      train: at the last logged step.
      held_out: as last evaluated.
      unit: "" where it has none.
    """

    name: str
    train: float | None
    held_out: float | None
    unit: str


def tasks(values: Mapping[str, float], baselines: Mapping[str, Mapping[str, Any]]) -> list[TaskLosses]:
    """A line for each `loss/TASK` or `validation_loss/TASK` in `values`, in their order."""
    prefixes = ("loss/", f"{VALIDATION}loss/")
    names = dict.fromkeys(
        name.removeprefix(prefix) for prefix in prefixes for name in values if name.startswith(prefix)
    )
    return [
        TaskLosses(
            name,
            values.get(f"loss/{name}"),
            values.get(f"{VALIDATION}loss/{name}"),
            {kind: value for kind, value in baselines.get(name, {}).items() if is_number(value)},
        )
        for name in names
    ]


def baseline_names(tasks: Sequence[TaskLosses]) -> list[str]:
    """The baselines that some task has, in their order."""
    return list(dict.fromkeys(name for task in tasks for name in task.baselines))


def other_metrics(
    values: Mapping[str, float], in_training: Iterable[str], units: Mapping[str, str]
) -> list[Metric]:
    """What workload and evaluators measure besides losses, in the order of `values`.

    Args:
      values: newest value of every metric.
      in_training: the metrics of training's rows; all others are held out, whatever their prefix.
      units: of metrics.
    """
    trained = set(in_training)
    names = dict.fromkeys(name.removeprefix(VALIDATION) for name in values)
    return [
        Metric(
            name,
            values.get(name) if name in trained else None,
            values.get(VALIDATION + name, None if name in trained else values.get(name)),
            unit_of(name, units),
        )
        for name in names
        if name not in OF_THE_TRAINER and not name.startswith("loss/")
    ]


def is_number(value: Any) -> bool:
    """Whether it is a finite number."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
