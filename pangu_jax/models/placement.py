"""Placement points: the names a model gives to the moments when a tensor changes where it lives.

A model knows logical axes and never a mesh. Where a weight must be whole before it is used, or an
activation crosses the edge of a tensor-parallel block, the model calls one of these points.
`pangu_jax.parallel` hands in an implementation (sharding constraints, or explicit collectives);
on one device every point is the identity, which is this class.
"""

from collections.abc import Mapping
from typing import Any

import jax

Params = Mapping[str, Any]
Axes = Mapping[str, Any]


class Placement:
    """The identity placement: everything lives on one device."""

    def weights(self, params: Params, axes: Axes) -> Params:
        """Bring the weights of one layer from storage to where they are used (an FSDP gather)."""
        del axes
        return params

    def enter(self, x_BxTxD: jax.Array) -> jax.Array:
        """The residual stream on its way into a tensor-parallel block."""
        return x_BxTxD

    def inside(self, x: jax.Array, axes: tuple[str | None, ...]) -> jax.Array:
        """A tensor inside a tensor-parallel block, with the logical axis of each dimension."""
        del axes
        return x

    def leave(self, y_BxTxD: jax.Array) -> jax.Array:
        """A block's output on its way back to the residual stream (partial sums are added here)."""
        return y_BxTxD
