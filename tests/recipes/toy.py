"""A small program to configure: what gin_traps of the recipe tests bind their values to."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

import gin


class Workload(Protocol):
    """Something to train; any class may stand in for it."""

    def loss(self) -> float: ...


@gin.configurable(module="toy")
@dataclass(frozen=True)
class Network:
    """A network.

    Attributes:
      width: units of a layer,
        a power of two.
      heads (int): attention heads.
    """

    width: int = 8
    heads: int = 2
    dropout: float = 0.0
    activation: Literal["relu", "gelu"] = "relu"
    shape: tuple[int, ...] = (1,)
    name: str | None = None
    tags: dict[str, int] | None = None


class Family(ABC):
    """What every family must have."""

    @abstractmethod
    def loss(self) -> float:
        """Of a batch."""

    @abstractmethod
    def axes(self) -> str:
        """Of every array."""


@gin.configurable(module="toy")
class Unfinished(Family):
    """A family that forgot one of its methods."""

    def loss(self) -> float:
        return 0.0


@gin.configurable(module="toy")
class Pipeline:
    """Takes anything else by keyword, and so swallows misspelt names."""

    def __init__(self, num_microbatches: int = 1, **options: object):
        self.num_microbatches = num_microbatches
        self.options = options

    def loss(self) -> float:
        return 0.0


@gin.configurable(module="toy")
def decay(rate: float) -> Callable[[int], float]:
    """A schedule; `rate` must be given."""
    return lambda step: rate**step


@gin.configurable(module="toy")
def fit(
    run_dir: str,
    workload: Workload = gin.REQUIRED,
    network: Network | None = None,
    steps: int = 10,
    batch=4,
    backend: str = "auto",
    schedule: Callable[[int], float] | None = None,
) -> tuple:
    """The program's function.

    Args:
      steps: how many optimizer steps.
    """
    return run_dir, workload, network, steps, batch, backend, schedule
