"""Which step of a run is kept as its result, and when a run that gets no better is ended."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import gin

from pangu_jax.errors import UserError


@gin.configurable
@dataclass(frozen=True)
class Selection:
    """The step that counts: the best one by a held-out metric, instead of the last.

    Its checkpoint is kept besides the newest ones, and is the one that is taken where the run is opened.

    Args:
      metric: a name in metrics.jsonl, such as "validation_loss".
      mode: "min" where less is better, or "max".
      patience: evaluations without a better one after which the run ends; 0 never ends it.
      tie_breaker: another metric, of which less is better among equals; "" takes the first of them.
    """

    metric: str = "validation_loss"
    mode: Literal["min", "max"] = "min"
    patience: int = 0
    tie_breaker: str = ""

    def __post_init__(self):
        if self.mode not in ("min", "max"):
            raise UserError(f"Selection.mode = {self.mode!r}: it is 'min' or 'max'")
        if self.patience < 0:
            raise UserError(f"Selection.patience = {self.patience}: give 0, which never ends a run, or more")

    def rank(self, values: Mapping[str, Any]) -> tuple[float, float]:
        """The smaller, the better; what is no number is the worst."""
        sign = -1.0 if self.mode == "max" else 1.0
        first, second = (_number(values.get(name)) for name in (self.metric, self.tie_breaker))
        return (sign * first if math.isfinite(first) else math.inf), second


class Best:
    """The best step so far. Its state is a function of what it was shown, so a resumed run is shown the rows
    on file.

    Attributes:
      selection: what is best; None keeps no step, and never ends a run.
      step: the best one; 0 before there is any.
      values: all that was measured then.
    """

    def __init__(self, selection: Selection | None, rows: Iterable[Mapping[str, Any]] = ()):
        self.selection = selection
        self.step = 0
        self.values: dict[str, float] = {}
        self._rank = (math.inf, math.inf)
        self._since = 0
        for row in rows:
            if selection and selection.metric in row:
                self.see(row["step"], row)

    def see(self, step: int, values: Mapping[str, Any]) -> bool:
        """Take the values of an evaluation into account; whether they are the best so far."""
        if self.selection is None or self.selection.metric not in values:
            return False
        self._since += 1
        rank = self.selection.rank(values)
        if self.step and not rank < self._rank:
            return False
        self.step, self._rank, self._since = step, rank, 0
        self.values = {name: value for name, value in values.items() if name != "step"}
        return True

    @property
    def enough(self) -> bool:
        """Whether the run has gone on for as long as patience allows."""
        return bool(self.selection and 0 < self.selection.patience <= self._since)

    def require_measured(self, names: Iterable[str]) -> None:
        """UserError where all that is ever measured, by its names, does not have the metric."""
        if self.selection is None:
            return
        for wanted in filter(None, (self.selection.metric, self.selection.tie_breaker)):
            if wanted not in names:
                there = ", ".join(sorted(names)) or "nothing"
                raise UserError(
                    f"Selection.metric or tie_breaker = {wanted!r} is not measured; there is {there}"
                )


def _number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else math.inf
