"""Forecasts on and on: a model's state is what it steps from next."""

from collections.abc import Iterator

import jax
import numpy as np

from pangu_jax.workloads import RunContext, Variables
from pangu_jax.workloads.science import ForecastModel

State = tuple[np.ndarray, np.ndarray]  # upper [B, L, H, W, U], surface [B, H, W, S], float32, physical units


class Roller:
    """A forecast model, ready to step.

    Args:
      workload: the model.
      variables: as it is evaluated.
      run: how a forward pass is carried out.
    """

    def __init__(self, workload: ForecastModel, variables: Variables, run: RunContext):
        self._variables, self._shards = variables, max(1, run.placement.batch_shards)
        self._step = jax.jit(lambda variables, upper, surface: workload.step(variables, upper, surface, run))

    def __call__(self, state: State, steps: int) -> Iterator[State]:
        """The states one lead, two leads, ... after some states."""
        count = len(state[0])
        ahead = tuple(self._filled(part) for part in state)
        for _ in range(steps):
            ahead = self._step(self._variables, *ahead)
            yield np.asarray(ahead[0])[:count], np.asarray(ahead[1])[:count]

    def _filled(self, part: np.ndarray) -> np.ndarray:
        """With its last state again and again, to what the parts of a batch divide."""
        missing = -len(part) % self._shards
        return np.concatenate([part, np.repeat(part[-1:], missing, 0)]) if missing else part
