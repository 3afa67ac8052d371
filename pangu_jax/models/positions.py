"""Positions of tokens: rotary embeddings (the default) and T5's relative position bias (an option)."""

import math

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from pangu_jax.models.parameters import normal

Rotation = tuple[jax.Array, jax.Array]


def rotation(positions_BxT: jax.Array, head_dim: int, base: float = 10_000.0) -> Rotation:
    """cos and sin of every position, each [B, T, head_dim / 2] in fp32 (Su et al., arXiv 2104.09864)."""
    frequencies = base ** (-jnp.arange(0, head_dim, 2, dtype=jnp.float32) / head_dim)
    angles_BxTxF = positions_BxT.astype(jnp.float32)[..., None] * frequencies
    return jnp.cos(angles_BxTxF), jnp.sin(angles_BxTxF)


@jax.custom_vjp
def rotate(x_BxHxTxK: jax.Array, rotation_BxTxF: Rotation) -> jax.Array:
    """Turns the pairs (first half, second half) of each head by its position's angle.

    The backward pass turns the other way round, in the same loop: the derivative of swapping halves would be
    slices and padding.
    """
    cos, sin = (r[:, None].astype(x_BxHxTxK.dtype) for r in rotation_BxTxF)
    half = x_BxHxTxK.shape[-1] // 2
    swapped = jnp.concatenate([x_BxHxTxK[..., half:], x_BxHxTxK[..., :half]], axis=-1)
    cos, sin = jnp.concatenate([cos, cos], axis=-1), jnp.concatenate([-sin, sin], axis=-1)
    return x_BxHxTxK * cos + swapped * sin


def _turn_back(rotation_BxTxF: Rotation, gradient: jax.Array) -> tuple[jax.Array, None]:
    cos, sin = rotation_BxTxF
    return rotate(gradient, (cos, -sin)), None


rotate.defvjp(lambda x, rotation: (rotate(x, rotation), rotation), _turn_back)


class RelativeBias(nnx.Module):
    """T5's table of one learnt bias per bucket and head, shared by all layers of a tower."""

    def __init__(self, buckets: int, heads: int, rngs: nnx.Rngs):
        self.table = normal(rngs, (buckets, heads), ("buckets", "heads"), fan_in=heads)


def relative_buckets(
    query_length: int, key_length: int, *, bidirectional: bool, buckets: int, max_distance: int
) -> np.ndarray:
    """Bucket of each (query, key) pair, int32 [query_length, key_length] (Raffel et al., arXiv 1910.10683).

    Half of the buckets are exact distances, the other half grows logarithmically up to `max_distance`;
    a bidirectional tower spends half of all buckets on each direction.
    """
    distance = np.arange(key_length)[None, :] - np.arange(query_length)[:, None]
    offset = np.zeros_like(distance)
    if bidirectional:
        buckets //= 2
        offset = (distance > 0) * buckets
        distance = np.abs(distance)
    else:
        distance = np.maximum(-distance, 0)
    exact = buckets // 2
    ratio = np.log(np.maximum(distance, 1).astype(np.float32) / exact) / math.log(max_distance / exact)
    logarithmic = np.minimum(exact + (ratio * (buckets - exact)).astype(np.int32), buckets - 1)
    return (offset + np.where(distance < exact, distance, logarithmic)).astype(np.int32)
