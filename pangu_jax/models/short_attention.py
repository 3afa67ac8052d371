"""Attention of short rows, such as a picture's units, by one kernel: scores never leave the chip's core.

Plain attention of 49 units is 0.3% of a layer's FLOPs and took a sixth of its time on a TPU, a tenth on a
GPU: each of its seven small products laid heads out and wrote them down. The kernels read what the projection
has made and write what the next product reads (docs/vision.md, "Sizes"). They have not run on a chip here:
they are compiled by the chips' compilers, and their numbers are compared in interpret mode.
"""

from collections.abc import Callable
from types import ModuleType

import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name

from pangu_jax.models.placement import Placement

PROJECTED = ("batch", "length", "heads", None, "kv")
MERGED = ("batch", "length", "heads", "kv")
Heads = Callable[[jax.Array], jax.Array]


def attend(projected_BxTxHx3xK: jax.Array, placement: Placement, plain: Heads) -> jax.Array:
    """softmax(q k^T / sqrt(K)) v of every example and head, [B, T, H, K].

    Args:
      projected_BxTxHx3xK: queries, keys and values, not scaled.
      placement: of whose chips the kernel is, if they have one.
      plain: the same without a kernel; it is what is done where none fits.
    """
    kernel = _kernel(placement.platform)
    if kernel is None or projected_BxTxHx3xK.dtype != jnp.bfloat16:
        return plain(projected_BxTxHx3xK)

    def local(projected: jax.Array) -> jax.Array:
        return by_kernel(kernel, projected) if kernel.fits(projected.shape) else plain(projected)

    return placement.locally(local, (projected_BxTxHx3xK,), (PROJECTED,), MERGED)


def by_kernel(kernel: ModuleType, projected_BxTxHx3xK: jax.Array, interpret: bool = False) -> jax.Array:
    """By a kernel that fits: `short_attention_tpu` or `short_attention_gpu`; bfloat16.

    The backward pass keeps what was projected, and makes the scores anew.
    """

    @jax.custom_vjp
    def heads(projected: jax.Array) -> jax.Array:
        return kernel.forward(projected, interpret)

    heads.defvjp(
        lambda projected: (heads(projected), projected),
        lambda projected, d_out: (kernel.backward(projected, d_out, interpret),),
    )
    return checkpoint_name(heads(projected_BxTxHx3xK), "attention")


def _kernel(platform: str) -> ModuleType | None:
    if platform == "tpu":
        from pangu_jax.models import short_attention_tpu

        return short_attention_tpu
    if platform == "gpu":
        from pangu_jax.models import short_attention_gpu

        return short_attention_gpu
    return None
