"""LoRA: a low-rank difference beside chosen matrices learns, and is added to them for inference."""

from dataclasses import dataclass

import gin
import jax
import jax.numpy as jnp

from pangu_jax.errors import UserError
from pangu_jax.models.parameters import Tree
from pangu_jax.workloads.language.model.encoder_decoder import EncoderDecoderConfig
from pangu_jax.workloads.language.model.forward import TOWERS

# Of the stacked weights of a layer; those that narrow are stored with their output first.
WIDENING = ("qkv", "query", "key_value", "up", "gate")
NARROWING = ("out", "down")


@gin.configurable
@dataclass(frozen=True)
class LoRA:
    """W + (alpha / rank) B A, where A and B learn (Hu et al., arXiv 2106.09685).

    A starts random and B at zero, so that the model starts as it was. A weight counts as one matrix [inputs,
    outputs] however many heads and parts it holds: "qkv" has one A for queries, keys and values.

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
        known = WIDENING + NARROWING
        if not self.targets or set(self.targets) - set(known):
            raise UserError(f"LoRA.targets = {self.targets}: name some of {', '.join(known)}")

    def prepare(
        self, config: EncoderDecoderConfig, params: Tree, key: jax.Array, classes: int
    ) -> tuple[Tree, Tree]:
        del config, classes
        trainable: Tree = {}
        for tower in TOWERS:
            for block, weights in params[tower].items():
                for name in self.targets:
                    if name in weights:
                        key, own = jax.random.split(key)
                        pair = self._pair(name, weights[name], own)
                        trainable.setdefault(tower, {}).setdefault(block, {})[name] = pair
        return trainable, params

    def merge(self, config: EncoderDecoderConfig, trainable: Tree, frozen: Tree) -> Tree:
        del config

        def merged(tree: Tree, over: Tree) -> Tree:
            return tree | {
                name: self._added(tree[name], pair) if "left" in pair else merged(tree[name], pair)
                for name, pair in over.items()
            }

        return merged(frozen, trainable)

    def _pair(self, name: str, weight: jax.Array, key: jax.Array) -> dict[str, jax.Array]:
        """left [layers, first, rank] and right [layers, rank, rest]; the one at the outputs is B, zero."""
        layers, first, *rest = weight.shape
        left, right = (layers, first, self.rank), (layers, self.rank, *rest)
        if name in NARROWING:
            inputs = weight[0].size // first
            return {"left": jnp.zeros(left), "right": jax.random.normal(key, right) * inputs**-0.5}
        return {"left": jax.random.normal(key, left) * first**-0.5, "right": jnp.zeros(right)}

    def _added(self, weight: jax.Array, pair: dict[str, jax.Array]) -> jax.Array:
        difference = jnp.einsum("lfr,lr...->lf...", pair["left"], pair["right"])
        return weight + difference * (self.alpha / self.rank)
