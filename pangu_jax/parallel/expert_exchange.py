"""Tokens to the devices of their experts and back, along the mesh axis `expert`.

Every device's tokens go to all devices along the axis, and each adds up what its experts make of them
(all-gather, then reduce-scatter). Where a token visits every device, as with one expert of each group and no
more devices than groups, that is no more than must be moved. With top-k of all experts a token visits k
devices at most: up to about k devices little more is moved than by an all-to-all, beyond that (devices / k)
times as much, and rows are kept for as many pairs as could meet there. Sizes are known when a step is
compiled, and nothing is dropped.
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax
from jax import lax

AXIS = "expert"


def at_experts(
    compute: Callable[..., jax.Array],
    devices: int,
    weights: Mapping[str, Any],
    tokens: tuple[jax.Array, ...],
) -> jax.Array:
    """See `pangu_jax.models.placement.Placement`; for use where the axis is manual.

    Args:
      compute: of the experts of a device.
      devices: along the axis.
      weights: of this device's experts.
      tokens: of this device.
    """
    if devices == 1:
        return compute(weights, 0, *tokens)
    here = jax.tree.leaves(weights)[0].shape[0]
    everyones = (lax.all_gather(x, AXIS, axis=0, tiled=True) for x in tokens)
    y_BxTxD = compute(weights, lax.axis_index(AXIS) * here, *everyones)
    return lax.psum_scatter(y_BxTxD, AXIS, scatter_dimension=0, tiled=True)
