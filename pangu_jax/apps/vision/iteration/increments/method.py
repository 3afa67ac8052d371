"""What a way of learning in increments is."""

from typing import Any, NamedTuple, Protocol

import numpy as np

from pangu_jax.apps.vision.iteration.increments.task import IncrementTask

State = dict[str, Any]  # nested dicts of arrays


class IncrementLearnt(NamedTuple):
    """What an increment gives.

    Attributes:
      state: what the method keeps; the next increment begins with it.
      flops: of products, spent on heads.
      bytes: kept besides the head: of a memory's pictures, means or an old head.
      looked: pictures that the trunk looked at in this increment; those of a memory too, which are pixels.
    """

    state: State
    flops: float
    bytes: int
    looked: int


class IncrementMethod(Protocol):
    """Learns a group of classes after another."""

    @property
    def name(self) -> str:
        """In tables."""
        ...

    def learn(self, state: State | None, task: IncrementTask) -> IncrementLearnt:
        """One increment more; `state` is None before the first."""
        ...

    def scores(self, state: State, features_MxF: np.ndarray, seen_C: np.ndarray) -> np.ndarray:
        """[M, C], higher is likelier; classes that are not seen are lowest."""
        ...
