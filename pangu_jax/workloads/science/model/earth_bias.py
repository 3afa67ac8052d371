"""The Earth-specific bias: what a window adds to the scores of its tokens (Bi et al., arXiv 2211.02556).

One table for each window of level and latitude, shared by all longitudes. In it a pair of tokens is known by
both levels, both latitudes, and the difference of longitudes alone: 2 * 2 * 6 * 6 * 23 = 3,312 numbers for
the 144 * 144 pairs of a window (2, 6, 12). They are spread without a gather, whose gradient would be a
scatter."""

import jax
import jax.numpy as jnp
import numpy as np

Window = tuple[int, int, int]
FAR = -1e9  # beside a score: exp of it is 0, and it stays finite in bfloat16


def entries(window: Window) -> tuple[int, int]:
    """Of a table: pairs of level and latitude, and differences of longitude."""
    levels, latitudes, longitudes = window
    return levels**2 * latitudes**2, 2 * longitudes - 1


def spread(table_HxGxExO: jax.Array, window: Window) -> jax.Array:
    """The bias of every pair of tokens, [G, H, M, N], key by query; both are by level, latitude, longitude.

    Args:
      table_HxGxExO: of H heads and G windows. E is (key's level, query's level, key's latitude, query's
        latitude); O the query's longitude less the key's, from 1 - longitudes on.
      window: levels, latitudes, longitudes.
    """
    heads, kinds = table_HxGxExO.shape[:2]
    z, h, w = window
    rows = jnp.flip(table_HxGxExO, -1)  # by the key's longitude less the query's
    # Row i of a band is the same row i places further on: tiled with one place too many, and cut again.
    rows = jnp.pad(rows, ((0, 0), (0, 0), (0, 0), (0, 1)))
    rows = jnp.broadcast_to(rows[..., None, :], (*rows.shape[:-1], w, 2 * w)).reshape(*rows.shape[:-1], -1)
    band = rows[..., : w * (2 * w - 1)].reshape(*rows.shape[:-1], w, 2 * w - 1)[..., w - 1 :]
    band = band.reshape(heads, kinds, z, z, h, h, w, w)  # key's, query's; key's, query's; query's, key's
    return band.transpose(1, 0, 2, 4, 7, 3, 5, 6).reshape(kinds, heads, z * h * w, z * h * w)


def hidden(bias_PxGxHxMxN: jax.Array, seen_PxGxMxN: np.ndarray | None) -> jax.Array:
    """The bias, and FAR where two tokens do not look at each other; P is 1 where all longitudes are alike."""
    if seen_PxGxMxN is None:
        return bias_PxGxHxMxN
    return jnp.where(seen_PxGxMxN[:, :, None], bias_PxGxHxMxN, FAR)


def gathered(bias_GxHxMxN: jax.Array, window: Window) -> jax.Array:
    """The inverse of `spread`, [H, G, E, O]: of pairs that share an entry the first."""
    kinds, heads = bias_GxHxMxN.shape[:2]
    z, h, w = window
    band = bias_GxHxMxN.reshape(kinds, heads, z, h, w, z, h, w).transpose(1, 0, 2, 5, 3, 6, 7, 4)
    band = band.reshape(heads, kinds, -1, w, w)
    below = jnp.flip(band[..., 0, :], -1)  # query 0: differences 1 - w ... 0
    above = band[..., 1:, 0]  # key 0: differences 1 ... w - 1
    return jnp.concatenate([below, above], -1)
