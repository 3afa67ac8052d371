"""Attention inside windows, with a bias for every pair of places: the one place where scores are made.

Scores of Pangu-Weather's first layer are 463 million a block (30 * 124 windows, 6 heads, 144 x 144): what has
a kernel for its chips keeps them out of memory, and replaces the body of `window_attention`.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax.ad_checkpoint import checkpoint_name

from pangu_jax.models.placement import Placement

PROJECTED = ("batch", "window", None, None, "heads", None, "kv")
MERGED = ("batch", "window", None, None, "heads", "kv")
FAR = -1e9  # beside a score: exp of it is 0, and it stays finite in bfloat16


def window_attention(
    projected_BxPxGxNxHx3xK: jax.Array,
    bias_GxHxNxN: jax.Array,
    seen_PxGxNxN: np.ndarray | None,
    placement: Placement,
) -> jax.Array:
    """softmax(q k^T / sqrt(K) + bias, where seen) v in every window, [B, P, G, N, H, K].

    Args:
      projected_BxPxGxNxHx3xK: queries, keys and values, not scaled: of P windows along longitude and G kinds.
      bias_GxHxNxN: of each kind, query by key; G is 1 where all have the same.
      seen_PxGxNxN: bool, true where a query looks at a key; P is 1 where all longitudes are alike; None for
        everywhere.
      placement: the placement points.
    """
    projected_BxPxGxNxHx3xK = checkpoint_name(projected_BxPxGxNxHx3xK, "heads")
    projected_BxPxGxNxHx3xK = placement.inside(projected_BxPxGxNxHx3xK, PROJECTED)
    heads = _plainly(projected_BxPxGxNxHx3xK, bias_GxHxNxN, seen_PxGxNxN)
    return checkpoint_name(placement.inside(heads, MERGED), "attention")


def _plainly(projected: jax.Array, bias: jax.Array, seen: np.ndarray | None) -> jax.Array:
    q, k, v = (projected[..., part, :] for part in range(3))
    scores = jnp.einsum("bpgnhk,bpgmhk->bpghnm", q * q.shape[-1] ** -0.5, k)
    bias_PxGxHxNxN = bias[None]
    if seen is not None:  # once for all examples, and as a rule for all longitudes
        bias_PxGxHxNxN = jnp.where(seen[:, :, None], bias_PxGxHxNxN, FAR)
    scores = scores.astype(jnp.float32) + bias_PxGxHxNxN.astype(jnp.float32)
    shares = jax.nn.softmax(scores, axis=-1).astype(v.dtype)
    return jnp.einsum("bpghnm,bpgmhk->bpgnhk", shares, v)
