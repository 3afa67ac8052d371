"""Attention inside windows, with a bias for every pair of places: the one place where scores are made.

Scores of Pangu-Weather's first layer are 463 million a block (30 * 124 windows, 6 heads, 144 x 144): what has
a kernel for its chips keeps them out of memory, and is called in `window_attention`.
"""

import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name

from pangu_jax.models import native, native_blocks, native_windows
from pangu_jax.models.native_blocks import Linear
from pangu_jax.models.normalization import biased
from pangu_jax.models.placement import Placement
from pangu_jax.models.projection import project
from pangu_jax.workloads.science.model import earth_bias
from pangu_jax.workloads.science.model.token_grid import TokenGrid

PROJECTED = ("batch", "window", None, None, "heads", None, "kv")
MERGED = ("batch", "window", None, None, "heads", "kv")


def window_attention(
    x_BxWxZxYxD: jax.Array,
    qkv: Linear,
    bias_GxHxMxN: jax.Array,
    grid: TokenGrid,
    roll: bool,
    placement: Placement,
) -> jax.Array:
    """softmax(q k^T / sqrt(K) + bias, where seen) v in every window, [B, W, Z, Y, H, K].

    Args:
      x_BxWxZxYxD: tokens on their grid, in whole windows (`TokenGrid.filled`): W longitudes, Z levels, Y
        latitudes.
      qkv: their projection: weight [D, H, 3, K], bias [H, 3, K].
      bias_GxHxMxN: of each window of level and latitude, key by query; G is 1 where all have the same.
      grid: where tokens are: it says which look at each other (`TokenGrid.seen`).
      roll: whether windows begin half a window further on.
      placement: the placement points.
    """
    # Once for all examples, and as a rule for all longitudes.
    bias_PxGxHxMxN = earth_bias.hidden(bias_GxHxMxN[None], grid.seen(roll))
    by_kernel = native.takes(placement, x_BxWxZxYxD, qkv.weight)
    if by_kernel and native_windows.fits(qkv.weight.shape[-1]):
        projected = checkpoint_name(native_blocks.linear(x_BxWxZxYxD, qkv), "heads")
        heads = native_windows.attend(projected, bias_PxGxHxMxN, grid.window, roll)
        return checkpoint_name(heads, "attention")
    projected = biased(project(grid.windows(x_BxWxZxYxD, roll), qkv.weight), qkv.bias)
    projected = placement.inside(checkpoint_name(projected, "heads"), PROJECTED)
    heads = checkpoint_name(placement.inside(_plainly(projected, bias_PxGxHxMxN), MERGED), "attention")
    *windows, count, width = heads.shape
    joined = grid.joined(heads.reshape(*windows, count * width), roll)
    return joined.reshape(*joined.shape[:-1], count, width)


def _plainly(projected_BxPxGxNxHx3xK: jax.Array, bias_PxGxHxMxN: jax.Array) -> jax.Array:
    q, k, v = (projected_BxPxGxNxHx3xK[..., part, :] for part in range(3))
    scores = jnp.einsum("bpgmhk,bpgnhk->bpghmn", k, q * q.shape[-1] ** -0.5)
    shares = jax.nn.softmax(scores.astype(jnp.float32) + bias_PxGxHxMxN.astype(jnp.float32), axis=-2)
    return jnp.einsum("bpghmn,bpgmhk->bpgnhk", shares.astype(v.dtype), v)
