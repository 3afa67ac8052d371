"""Attention of a block by a TPU's kernel (`window_attention_tpu`): projections as the kernel reads them.

Tokens are level by level, latitude by latitude (`TokenGrid.by_level`). What windows lack, and their roll in
level and latitude, moves whole rings of longitudes, which costs little; in longitude the kernel begins where
it must.
"""

import functools

import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name
from jax.typing import DTypeLike

from pangu_jax.models.placement import Placement
from pangu_jax.workloads.science.model import earth_bias
from pangu_jax.workloads.science.model.token_grid import TokenGrid
from pangu_jax.workloads.science.model.window_tiles import WindowTiles

RINGS = ("batch", None, None, None, None, None)
BIAS = (None, None, None, None)


def takes(shape: WindowTiles, grid: TokenGrid, placement: Placement, dtype: DTypeLike) -> bool:
    """Whether the kernel takes windows of a grid: on a TPU that has whole states, all around the globe."""
    on_tpu = placement.platform == "tpu" and placement.whole_examples and dtype == jnp.bfloat16
    return on_tpu and grid.periodic and grid.padded[2] == grid.longitudes and shape.fit()


@functools.partial(jax.custom_vjp, nondiff_argnums=(1,))
def _rolled(x: jax.Array, by: tuple[int, int]) -> jax.Array:
    """x rolled in level and latitude; so is its gradient, which would be sums of padded parts otherwise."""
    return jnp.roll(x, by, (1, 2))


_rolled.defvjp(lambda x, by: (_rolled(x, by), None), lambda by, _, d_out: (_rolled(d_out, (-by[0], -by[1])),))


def attention(
    x_BxTxD: jax.Array,
    qkv_DxHx3xK: jax.Array,
    qkv_bias_Hx3xK: jax.Array,
    out_DxHxK: jax.Array,
    bias_GxHxMxN: jax.Array,
    grid: TokenGrid,
    roll: bool,
    placement: Placement,
) -> jax.Array:
    """What windows make of their tokens, times the weight `out`: [B, T, D].

    Args:
      x_BxTxD: tokens, by level.
      qkv_DxHx3xK: weight of the projection to queries, keys and values; `qkv_bias_Hx3xK` its bias.
      out_DxHxK: weight of the results' projection.
      bias_GxHxMxN: as for `window_attention`.
      grid: where tokens are.
      roll: whether windows begin half a window further on.
      placement: the placement points.
    """
    from pangu_jax.workloads.science.model import window_attention_tpu

    _, heads, _, per_head = qkv_DxHx3xK.shape
    shape = WindowTiles(grid.window, heads, per_head)
    x = x_BxTxD.reshape(-1, grid.levels, grid.latitudes, grid.longitudes, x_BxTxD.shape[-1])
    before, after = grid.lacking()
    x = jnp.pad(x, [(0, 0), *((before[axis], after[axis]) for axis in range(3)), (0, 0)])
    half = (grid.window[0] // 2, grid.window[1] // 2)
    if roll:
        x = _rolled(x, (-half[0], -half[1]))
    projected = jnp.einsum("bzywd,dcl->bzycwl", x, shape.laid_out(qkv_DxHx3xK))
    # In fp32, so that the gradient of the bias is a sum in fp32.
    shift_Cx1xL = shape.laid_out(qkv_bias_Hx3xK).astype(jnp.float32)[:, None]
    projected = (projected.astype(jnp.float32) + shift_Cx1xL) * shape.scale()[:, None]
    projected = checkpoint_name(projected.astype(x.dtype), "heads")
    bias = jnp.broadcast_to(bias_GxHxMxN, (grid.kinds, *bias_GxHxMxN.shape[1:]))
    bias = earth_bias.hidden(bias[None], grid.seen(roll))[0]

    def local(projected: jax.Array, bias: jax.Array) -> jax.Array:
        return window_attention_tpu.attend(projected, bias, shape, roll)

    merged = checkpoint_name(placement.locally(local, (projected, bias), (RINGS, BIAS), RINGS), "attention")
    if roll:
        merged = _rolled(merged, half)
    (level, latitude, _) = before
    merged = merged[:, level : level + grid.levels, latitude : latitude + grid.latitudes]
    y = jnp.einsum("bzycwl,cld->bzywd", merged, shape.back(out_DxHxK))
    return y.reshape(x_BxTxD.shape)
