"""Fields to patches and back."""

import jax
import jax.numpy as jnp

from pangu_jax.workloads.science.model.token_grid import added

Sides = tuple[int, int, int]


def cut(x_BxLxHxWxC: jax.Array, patch: Sides, centred: bool = False) -> jax.Array:
    """Patches [B, W', L', H', level * latitude * longitude * C]; what a side lacks is filled up with zeros.

    Args:
      x_BxLxHxWxC: fields.
      patch: levels, latitudes, longitudes.
      centred: whether half of what is added is before the first; else all is after the last.
    """
    batch, *sizes, channels = x_BxLxHxWxC.shape
    whole = tuple(-(-size // side) * side for size, side in zip(sizes, patch, strict=True))
    before, after = added(tuple(sizes), whole, centred)
    x = x_BxLxHxWxC
    if any(before + after):
        x = jnp.pad(x, [(0, 0), *zip(before, after, strict=True), (0, 0)])
    (z, h, w), (levels, latitudes, longitudes) = patch, whole
    x = x.reshape(batch, levels // z, z, latitudes // h, h, longitudes // w, w, channels)
    return x.transpose(0, 5, 1, 3, 2, 4, 6, 7).reshape(
        batch, longitudes // w, levels // z, latitudes // h, z * h * w * channels
    )


def joined(x_BxWxLxHxV: jax.Array, patch: Sides, sizes: Sides, centred: bool = False) -> jax.Array:
    """The inverse of `cut`, [B, L, H, W, C], of fields of these sizes: what was added is cut off."""
    (batch, longitudes, levels, latitudes, _), (z, h, w) = x_BxWxLxHxV.shape, patch
    x = x_BxWxLxHxV.reshape(batch, longitudes, levels, latitudes, z, h, w, -1).transpose(
        0, 2, 4, 3, 5, 1, 6, 7
    )
    whole = (levels * z, latitudes * h, longitudes * w)
    x = x.reshape(batch, *whole, -1)
    (z, h, w), _ = added(sizes, whole, centred)
    return x[:, z : z + sizes[0], h : h + sizes[1], w : w + sizes[2]]
