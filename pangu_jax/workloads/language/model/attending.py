"""What attends in a forward pass: a kernel where there is one for it, or plain products."""

import functools
import logging
from typing import Literal

import jax
from jax.ad_checkpoint import checkpoint_name

from pangu_jax.models import attention, cudnn_attention, flash, native, native_attention
from pangu_jax.models.attention import Attend, AttentionMask
from pangu_jax.models.grouped_attention import each_for
from pangu_jax.models.placement import Placement

Kernel = Literal["plain", "flash"]

log = logging.getLogger(__name__)


def attending(
    mask: AttentionMask, bias_HxTxS: jax.Array | None, scale: float, kernel: Kernel, placement: Placement
) -> Attend:
    """Of queries [B, H, T, K], keys and values [B, G, S, K], where the mask lets them, what they find.

    Args:
      mask: who sees whom; a tuned model's prefix before the keys is seen by all.
      bias_HxTxS: on the scores.
      scale: factor on the scores.
      kernel: "flash" takes on a TPU what has no bias and no prefix, on a GPU what cuDNN does.
      placement: of the tensors.
    """
    on_gpu = placement.platform == "gpu"
    by_splash = kernel == "flash" and not on_gpu and bias_HxTxS is None and flash.fits(mask)
    mask_Bx1xTxS = mask.as_array()

    def attend(q: jax.Array, k: jax.Array, v: jax.Array) -> jax.Array:
        if kernel == "flash" and on_gpu:
            if not (why := cudnn_attention.refusal(q, k, v)):
                return cudnn_attention.attend(q, k, v, mask, bias_HxTxS, scale, placement)
            _say(f"attention without cuDNN's kernel: {why}")
        k, v = each_for(q, k), each_for(q, v)
        prefixed = k.shape[2] > mask_Bx1xTxS.shape[-1]
        if by_splash and not prefixed:
            return flash.attend(q * scale, k, v, mask, placement)
        sees = attention.over_prefix(k.shape[2], mask_Bx1xTxS, bias_HxTxS)
        if native.takes(placement, q, k, v) and native_attention.fits(q, *sees):
            return checkpoint_name(native_attention.attend(q * scale, k, v, sees[0]), "attention")
        return attention.attend(q * scale, k, v, *sees)

    return attend


@functools.cache
def _say(what: str) -> None:
    """Once, however many layers and passes are traced."""
    log.warning("%s", what)
