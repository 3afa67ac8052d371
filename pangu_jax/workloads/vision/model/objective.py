"""What an objective of vision is to the model: what it shows the trunk, and a loss of what comes out.

Objectives stand side by side: each shows pictures to the one trunk in its own way and has parameters of its
own; a joint loss adds them up.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import jax

from pangu_jax.models.parameters import Tree
from pangu_jax.models.placement import Placement
from pangu_jax.workloads.vision.model.trunk import Features, Stream, TrunkConfig


class PictureBatch(NamedTuple):
    """A batch.

    Attributes:
      image_BxVxSxSxC: uint8, views of each picture; the last is the plain one where there is one.
      label_B: int32, -1 where it is not known.
      keys_B: a PRNG key per picture.
    """

    image_BxVxSxSxC: jax.Array
    label_B: jax.Array
    keys_B: jax.Array


class Begun(NamedTuple):
    """What an objective shows the trunk, and what it keeps for its loss.

    Attributes:
      streams: each goes through the trunk by itself.
      kept: any tree of arrays.
    """

    streams: tuple[Stream, ...]
    kept: Any = None


class Term(NamedTuple):
    """An objective's part of the loss.

    Attributes:
      loss_B: fp32, of each picture.
      metrics_B: name -> a value of each picture.
      rows: what `next_extra` wants of each picture, arrays [B, ...].
    """

    loss_B: jax.Array
    metrics_B: Mapping[str, jax.Array]
    rows: Tree


class Pass(NamedTuple):
    """What an objective's loss reads besides parameters.

    Attributes:
      forward: of the trunk, a `TrunkForward`; None where there is none.
      placement: the placement points.
      dtype: of products.
      remat: "none", "dots", "full" or "offload".
      task: the number of this step's among the objective's tasks.
      averaged: the averaged parameters {"trunk", "main", ...}; {} where there are none.
      extra: the objective's own.
      steps: fp32 scalar, optimizer steps done.
    """

    forward: Any
    placement: Placement
    dtype: Any
    remat: Any
    task: int
    averaged: Tree
    extra: Tree
    steps: jax.Array


@dataclass(frozen=True)
class PictureObjective(ABC):
    """Settings of an objective.

    Attributes:
      name: of its parameters and of its part of the loss.
      loss_unit: of its loss.
      views: augmented views that it needs; 0 where the plain one will do.
      needs_trunk: whether it is nothing without a trunk; else `trunk` may be None below.
      needs_average: whether it reads averaged parameters.

    Args:
      weight: in a joint loss.
    """

    name: ClassVar[str]
    loss_unit: ClassVar[str]
    views: ClassVar[int] = 0
    needs_trunk: ClassVar[bool] = True
    needs_average: ClassVar[bool] = False

    weight: float = 1.0

    @property
    def turns(self) -> tuple[str, ...]:
        """Its tasks: a step is about one of them, in turns. "" for an objective that has only one."""
        return ("",)

    @property
    def early(self) -> bool:
        """Whether it reads features of stages before the main one."""
        return True

    @abstractmethod
    def init(self, trunk: TrunkConfig, channels: int, key: jax.Array) -> Tree:
        """Its own fresh parameters; ValueError where they do not fit the trunk."""

    @abstractmethod
    def axes(self, trunk: TrunkConfig, channels: int) -> Tree:
        """Their logical axes."""

    def dimensions(self, trunk: TrunkConfig | None) -> dict[str, int]:
        """Sizes by logical axis that a layout must divide; of every width that is stored over `embed`."""
        del trunk
        return {}

    def init_extra(self, trunk: TrunkConfig, key: jax.Array) -> Tree:
        """Its extra state; {} for none."""
        del trunk, key
        return {}

    def extra_axes(self, trunk: TrunkConfig) -> Tree:
        """Logical axes of the extra state."""
        del trunk
        return {}

    def next_extra(self, extra: Tree, rows: Tree) -> Tree:
        """The extra state after a step whose losses handed up `rows`, [examples, ...]."""
        del rows
        return extra

    @abstractmethod
    def begin(self, trunk: TrunkConfig, pictures: PictureBatch, task: int) -> Begun:
        """What it shows the trunk of a batch, for the task of that number."""

    @abstractmethod
    def finish(
        self, params: Tree, pictures: PictureBatch, begun: Begun, features: tuple[Features, ...], run: Pass
    ) -> Term:
        """Its loss.

        Args:
          params: its own.
          pictures: the batch.
          begun: of `begin`.
          features: of each stream.
          run: what else it reads.
        """

    @abstractmethod
    def flops(self, trunk: TrunkConfig, size: int, channels: int) -> float:
        """Forward FLOPs of matrix products per picture of that size, the trunk's included."""
