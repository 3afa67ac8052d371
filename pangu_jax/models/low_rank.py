"""Low-rank differences beside stacked matrices: W + (alpha / rank) B A (Hu et al., arXiv 2106.09685).

A starts random and B at zero, so that a model starts as it was. A weight counts as one matrix [inputs,
outputs] however many heads and parts it holds: "qkv" has one A for queries, keys and values.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from pangu_jax.models.parameters import Tree

# Of the stacked weights of a layer; those that narrow are stored with their output first.
WIDENING = ("qkv", "query", "key_value", "up", "gate")
NARROWING = ("out", "down")


def pairs(layers: Tree, targets: Sequence[str], rank: int, key: jax.Array) -> tuple[Tree, jax.Array]:
    """{block: {target: {"left", "right"}}} of stacked layers, and the key that is left over.

    Args:
      layers: {block: {weight: [layers, ...]}}.
      targets: names of weights, in every block that has them, but experts, which are left as they are.
      rank: of the differences.
      key: of what starts random.
    """
    found: Tree = {}
    for block, weights in layers.items():
        if block == "experts":
            continue
        for name in targets:
            if name in weights:
                key, own = jax.random.split(key)
                found.setdefault(block, {})[name] = _pair(name, weights[name], rank, own)
    return found, key


def added(tree: Tree, differences: Tree, scale: float) -> Tree:
    """A nested dict of weights with differences added where there are any; neither is changed."""
    return tree | {
        name: _added(tree[name], pair, scale) if "left" in pair else added(tree[name], pair, scale)
        for name, pair in differences.items()
    }


def _pair(name: str, weight: jax.Array, rank: int, key: jax.Array) -> dict[str, jax.Array]:
    """left [layers, first, rank] and right [layers, rank, rest]; the one at the outputs is B, zero."""
    layers, first, *rest = weight.shape
    left, right = (layers, first, rank), (layers, rank, *rest)
    if name in NARROWING:
        inputs = weight[0].size // first
        return {"left": jnp.zeros(left), "right": jax.random.normal(key, right) * inputs**-0.5}
    return {"left": jax.random.normal(key, left) * first**-0.5, "right": jnp.zeros(right)}


def _added(weight: jax.Array, pair: dict[str, jax.Array], scale: float) -> jax.Array:
    difference = jnp.einsum("lfr,lr...->lf...", pair["left"], pair["right"])
    return weight + difference * scale
