"""Vectors of positions that are learnt: added to those of tokens, or asked by in a query layer.

A decoder of PanGu-alpha (arXiv 2104.12369) has a table of each; they are tables outside of the towers, so
that every stage of a pipeline has them.
"""

from collections.abc import Mapping, Sequence

import jax
from flax import nnx
from jax.typing import DTypeLike

from pangu_jax.models.parameters import Tree, normal
from pangu_jax.models.placement import Placement

AXES = {"position": (None, "embed")}


class LearnedPositions(nnx.Module):
    """`position` [positions, embed]."""

    def __init__(self, positions: int, d_model: int, rngs: nnx.Rngs):
        self.position = normal(rngs, (positions, d_model), AXES["position"], fan_in=d_model)


def gathered(params: Tree, dtype: DTypeLike, placement: Placement) -> jax.Array:
    """The table, whole."""
    return placement.weights({"position": params["position"].astype(dtype)}, AXES)["position"]


def vectors(
    params: Tree, positions: Sequence[jax.Array], dtype: DTypeLike, placement: Placement
) -> tuple[jax.Array, ...]:
    """Rows [B, T, D] of the residual stream for each stream's positions, int32 [B, T] of whole windows."""
    table_PxD = gathered(params, dtype, placement)
    return tuple(placement.begin(table_PxD[positions_BxT]) for positions_BxT in positions)


def added(
    params: Mapping[str, Tree],
    embedded: tuple[jax.Array, ...],
    positions: Sequence[jax.Array],
    dtype: DTypeLike,
    placement: Placement,
) -> tuple[jax.Array, ...]:
    """The vectors of tokens, with those of their positions where a model has `positions`."""
    if "positions" not in params:
        return embedded
    found = vectors(params["positions"], positions, dtype, placement)
    return tuple(x + y for x, y in zip(embedded, found, strict=True))
