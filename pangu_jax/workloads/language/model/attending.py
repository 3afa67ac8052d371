"""What attends in a forward pass: a kernel where there is one for it, or plain products."""

from typing import Literal

import jax
from jax.ad_checkpoint import checkpoint_name

from pangu_jax.models import attention, flash, native, native_attention
from pangu_jax.models.attention import Attend, AttentionMask
from pangu_jax.models.placement import Placement

Kernel = Literal["plain", "flash"]


def attending(
    mask: AttentionMask, bias_HxTxS: jax.Array | None, scale: float, kernel: Kernel, placement: Placement
) -> Attend:
    """Of queries, keys and values [B, H, T, K], where the mask lets them, what they find.

    Args:
      mask: who sees whom; a tuned model's prefix before the keys is seen by all.
      bias_HxTxS: on the scores.
      scale: factor on the scores.
      kernel: "flash" takes what has no bias and no prefix.
      placement: of the tensors.
    """
    by_kernel = kernel == "flash" and bias_HxTxS is None and flash.fits(mask)
    mask_Bx1xTxS = mask.as_array()

    def attend(q: jax.Array, k: jax.Array, v: jax.Array) -> jax.Array:
        prefixed = k.shape[2] > mask_Bx1xTxS.shape[-1]
        if by_kernel and not prefixed:
            return flash.attend(q * scale, k, v, mask, placement)
        sees = attention.over_prefix(k.shape[2], mask_Bx1xTxS, bias_HxTxS)
        if native.takes(placement, q, k, v) and native_attention.fits(q, *sees):
            return checkpoint_name(native_attention.attend(q * scale, k, v, sees[0]), "attention")
        return attention.attend(q * scale, k, v, *sees)

    return attend
