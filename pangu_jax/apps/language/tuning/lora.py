"""LoRA: a low-rank difference beside chosen matrices learns, and is added to them for inference."""

from dataclasses import dataclass

import gin
import jax

from pangu_jax.errors import UserError
from pangu_jax.models import low_rank
from pangu_jax.models.parameters import Tree
from pangu_jax.workloads.language.model.architecture import Architecture


@gin.configurable
@dataclass(frozen=True)
class LoRA:
    """W + (alpha / rank) B A, where A and B learn (Hu et al., arXiv 2106.09685).

    A starts random and B at zero, so that the model starts as it was. A weight counts as one matrix [inputs,
    outputs] however many heads and parts it holds: "qkv" has one A for queries, keys and values. A decoder
    alone has "query" and "key_value" in its place.

    Args:
      rank: of the difference.
      alpha: its factor times the rank.
      targets: names of weights, in every block that has them: "qkv", "query", "key_value", "out", "up",
        "gate", "down".
    """

    rank: int = 8
    alpha: float = 16.0
    targets: tuple[str, ...] = ("qkv", "query", "key_value")

    pool = None
    from_below = False
    prompt = 0

    def __post_init__(self):
        if self.rank < 1:
            raise UserError(f"LoRA.rank = {self.rank}: give at least 1")
        known = low_rank.WIDENING + low_rank.NARROWING
        if not self.targets or set(self.targets) - set(known):
            raise UserError(f"LoRA.targets = {self.targets}: name some of {', '.join(known)}")

    def prepare(self, config: Architecture, params: Tree, key: jax.Array, classes: int) -> tuple[Tree, Tree]:
        del classes
        trainable: Tree = {}
        for tower in config.towers:
            found, key = low_rank.pairs(params[tower], self.targets, self.rank, key)
            trainable |= {tower: found} if found else {}
        return trainable, params

    def merge(self, config: Architecture, trainable: Tree, frozen: Tree) -> Tree:
        del config
        return low_rank.added(frozen, trainable, self.alpha / self.rank)
