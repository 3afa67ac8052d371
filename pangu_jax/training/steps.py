"""Steps, one after the other: dispatch step n + 1, then look at the metrics of step n, so the device never
waits for Python.

What becomes of them is up to a keeper: `loop` has one that keeps a run directory, `in_memory` one that keeps
a few numbers.
"""

import time
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import jax

from pangu_jax.training.step import TrainState
from pangu_jax.workloads import Batch

Step = Callable[[TrainState, Batch, int], tuple[TrainState, dict[str, jax.Array]]]
Metrics = dict[str, Any]


class Keeper(Protocol):
    """What is done with the steps of a run."""

    def record(self, step: int, metrics: Metrics, finished: float | None = None) -> None:
        """The metrics of a step, on its devices; `finished` is when it was known to be over."""

    def stops_after(self, step: int) -> bool:
        """Whether somebody wants the run to end here, to be resumed."""
        ...

    def evaluates_after(self, step: int, last: bool) -> bool:
        """Whether an evaluation is due."""
        ...

    def saves_after(self, step: int) -> bool:
        """Whether the state is due to be saved, besides that of the last step."""
        ...

    def evaluate(self, step: int, state: TrainState, last: bool) -> tuple[bool, bool]:
        """Evaluate; whether this is the best step so far, and whether the run is to end."""
        ...

    def save(self, step: int, state: TrainState) -> None:
        """Keep the state of the last step, of one that is due, or of the best."""

    def pause(self) -> None:
        """The next step begins after something that was no training."""


def advance(
    train_step: Step,
    phase: Callable[[int], int],
    batches: Iterator[Batch],
    state: TrainState,
    start: int,
    steps: int,
    keeper: Keeper,
) -> tuple[TrainState, int]:
    """Train from step `start` to `steps`, or until the keeper ends it; the last state and its step.

    The metrics of every step up to N are recorded before the state of step N is saved.
    """
    pending: tuple[int, Metrics] | None = None
    step = start
    for step in range(start + 1, steps + 1):
        batch = next(batches)
        # A platform may run a step where it is dispatched: by then the one before has long ended.
        finished = time.monotonic() if pending and _is_ready(pending[1]["loss"]) else None
        state, metrics = train_step(state, batch, phase(step - 1))
        if pending:
            keeper.record(*pending, finished)
        pending = step, metrics
        stopping = keeper.stops_after(step)
        last = step == steps or stopping
        # Not where it stops: a scheduler that wants its machine back waits a little only.
        evaluates = not stopping and keeper.evaluates_after(step, last)
        saves = last or keeper.saves_after(step)
        if evaluates or saves:
            keeper.record(*pending)
            pending = None
        if evaluates:
            best, enough = keeper.evaluate(step, state, last)
            last = last or enough
            saves = saves or best or enough
        if saves:
            keeper.save(step, state)
        if evaluates or saves:
            keeper.pause()
        if last:
            break
    return state, step


def _is_ready(array: Any) -> bool:
    """Whether an array has been computed; jax's type for arrays does not speak of it."""
    return array.is_ready()
