"""Attention inside windows, with a bias for every pair of places: the one place where scores are made.

Scores of Pangu-Weather's first layer are 463 million a block (30 * 124 windows, 6 heads, 144 x 144): what has
a kernel for its chips keeps them out of memory, and replaces the body of `window_attention`.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax.ad_checkpoint import checkpoint_name

from pangu_jax.models import native, native_windows
from pangu_jax.models.placement import Placement

PROJECTED = ("batch", "window", None, None, "heads", None, "kv")
MERGED = ("batch", "window", None, None, "heads", "kv")
FAR = -1e9  # beside a score: exp of it is 0, and it stays finite in bfloat16


def window_attention(
    projected_BxPxGxNxHx3xK: jax.Array,
    bias_GxHxMxN: jax.Array,
    seen_PxGxNxN: np.ndarray | None,
    placement: Placement,
) -> jax.Array:
    """softmax(q k^T / sqrt(K) + bias, where seen) v in every window, [B, P, G, N, H, K].

    Args:
      projected_BxPxGxNxHx3xK: queries, keys and values, not scaled: of P windows along longitude and G kinds.
      bias_GxHxMxN: of each kind, key by query; G is 1 where all have the same.
      seen_PxGxNxN: bool, true where two tokens look at each other; P is 1 where all longitudes are alike; None
        for everywhere.
      placement: the placement points.
    """
    projected_BxPxGxNxHx3xK = checkpoint_name(projected_BxPxGxNxHx3xK, "heads")
    projected_BxPxGxNxHx3xK = placement.inside(projected_BxPxGxNxHx3xK, PROJECTED)
    bias_PxGxHxMxN = bias_GxHxMxN[None]
    if seen_PxGxNxN is not None:  # once for all examples, and as a rule for all longitudes
        bias_PxGxHxMxN = jnp.where(seen_PxGxNxN[:, :, None], bias_PxGxHxMxN, FAR)
    if native.takes(placement, projected_BxPxGxNxHx3xK) and native_windows.fits(projected_BxPxGxNxHx3xK):
        heads = native_windows.attend(projected_BxPxGxNxHx3xK, bias_PxGxHxMxN)
    else:
        heads = _plainly(projected_BxPxGxNxHx3xK, bias_PxGxHxMxN)
    return checkpoint_name(placement.inside(heads, MERGED), "attention")


def _plainly(projected: jax.Array, bias_PxGxHxMxN: jax.Array) -> jax.Array:
    q, k, v = (projected[..., part, :] for part in range(3))
    scores = jnp.einsum("bpgmhk,bpgnhk->bpghmn", k, q * q.shape[-1] ** -0.5)
    shares = jax.nn.softmax(scores.astype(jnp.float32) + bias_PxGxHxMxN.astype(jnp.float32), axis=-2)
    return jnp.einsum("bpghmn,bpgmhk->bpgnhk", shares.astype(v.dtype), v)
