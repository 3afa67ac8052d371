"""Which parameters of a trunk learn when classes are taught to it."""

from dataclasses import dataclass
from typing import Protocol

import gin
import jax

from pangu_jax.errors import UserError
from pangu_jax.models import low_rank
from pangu_jax.models.parameters import Tree
from pangu_jax.workloads.vision.model.trunk import TrunkConfig


class Learning(Protocol):
    """A way to split a trunk {"trunk", "main"} into what learns and what stays."""

    def split(self, base: Tree, key: jax.Array) -> tuple[Tree, Tree]:
        """(learning, frozen) before the first step."""
        ...

    def axes(self, config: TrunkConfig) -> tuple[Tree, Tree]:
        """Their logical axes."""
        ...

    def merged(self, learning: Tree, frozen: Tree) -> Tree:
        """The trunk that is used; other names of `learning` are passed over."""
        ...


@gin.configurable(module="pangu_jax.workloads.vision")
@dataclass(frozen=True)
class AllWeights:
    """All of it; `layerwise_rates` lets lower layers learn less."""

    def split(self, base: Tree, key: jax.Array) -> tuple[Tree, Tree]:
        """See `Learning`."""
        del key
        return dict(base), {}

    def axes(self, config: TrunkConfig) -> tuple[Tree, Tree]:
        """See `Learning`."""
        return dict(config.axes()), {}

    def merged(self, learning: Tree, frozen: Tree) -> Tree:
        """See `Learning`."""
        del frozen
        return learning


@gin.configurable(module="pangu_jax.workloads.vision")
@dataclass(frozen=True)
class HeadOnly:
    """None of it: a classifier learns on features that stay as they are."""

    def split(self, base: Tree, key: jax.Array) -> tuple[Tree, Tree]:
        """See `Learning`."""
        del key
        return {}, dict(base)

    def axes(self, config: TrunkConfig) -> tuple[Tree, Tree]:
        """See `Learning`."""
        return {}, dict(config.axes())

    def merged(self, learning: Tree, frozen: Tree) -> Tree:
        """See `Learning`."""
        del learning
        return frozen


@gin.configurable(module="pangu_jax.workloads.vision")
@dataclass(frozen=True)
class LowRank:
    """Low-rank differences beside matrices of the main stage (LoRA, `pangu_jax.models.low_rank`).

    Args:
      rank: of a difference.
      alpha: its factor times the rank.
      targets: of the main stage's matrices: "qkv", "out", "up", "down".
    """

    rank: int = 8
    alpha: float = 16.0
    targets: tuple[str, ...] = ("qkv",)

    def __post_init__(self):
        if self.rank < 1:
            raise UserError(f"LowRank.rank = {self.rank}: give at least 1")
        known = ("qkv", "out", "up", "down")
        if not self.targets or set(self.targets) - set(known):
            raise UserError(f"LowRank.targets = {self.targets}: name some of {', '.join(known)}")

    def split(self, base: Tree, key: jax.Array) -> tuple[Tree, Tree]:
        """See `Learning`."""
        return {"differences": low_rank.pairs(base["main"], self.targets, self.rank, key)[0]}, dict(base)

    def axes(self, config: TrunkConfig) -> tuple[Tree, Tree]:
        """See `Learning`."""
        whole = config.axes()
        differences: Tree = {}
        for block, weights in whole["main"].items():
            for name in self.targets:
                if name in weights:
                    layers, first, *rest = weights[name]
                    pair = {"left": (layers, first, None), "right": (layers, None, *rest)}
                    differences.setdefault(block, {})[name] = pair
        return {"differences": differences}, dict(whole)

    def merged(self, learning: Tree, frozen: Tree) -> Tree:
        """See `Learning`."""
        main = low_rank.added(frozen["main"], learning["differences"], self.alpha / self.rank)
        return {**frozen, "main": main}
