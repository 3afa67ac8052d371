"""Products of int8 activations and int8 weights, summed exactly in int32.

Symmetric quantisation as in LLM.int8() (Dettmers et al. 2022) without its outlier columns: weights have one
scale per column, found once; activations one per row, found when they are used. Both scales leave the sum
over K, so that the int32 sums are exact and are scaled once at the end.
"""

import jax
import jax.numpy as jnp

from tpu_npu_backends.ascend.operators.chains import activate
from tpu_npu_backends.errors import BackendError

LARGEST = 127  # -128 stays unused, so that the range is symmetric
_TINY = 1e-30  # keeps the scale of a row of zeros from being zero


def _quantise(x: jax.Array, axis: int) -> tuple[jax.Array, jax.Array]:
    x = x.astype(jnp.float32)
    scales = jnp.maximum(jnp.max(jnp.abs(x), axis=axis, keepdims=True), _TINY) * jnp.float32(1 / LARGEST)
    # Halves go up: the Ascend compiler has no rounding to even, and XLA would undo it as sums of constants.
    return jnp.clip(jnp.floor(x / scales + 0.5), -LARGEST, LARGEST).astype(jnp.int8), scales


def quantise_rows(x_MxK: jax.Array) -> tuple[jax.Array, jax.Array]:
    """int8 [M, K] and float32 scales [M, 1] with x = values * scales, to half a scale."""
    return _quantise(x_MxK, axis=-1)


def quantise_columns(w_KxN: jax.Array) -> tuple[jax.Array, jax.Array]:
    """int8 [K, N] and float32 scales [N] with w = values * scales, to half a scale."""
    values_KxN, scales_1xN = _quantise(w_KxN, axis=0)
    return values_KxN, scales_1xN[0]


def int8_product(x_MxK: jax.Array, w_KxN: jax.Array) -> jax.Array:
    """The exact int32 product [M, N] of int8 factors."""
    if x_MxK.dtype != jnp.int8 or w_KxN.dtype != jnp.int8:
        raise BackendError(f"an int8 product of {x_MxK.dtype} and {w_KxN.dtype}: quantise both first")
    return jax.lax.dot_general(x_MxK, w_KxN, (((1,), (0,)), ((), ())), preferred_element_type=jnp.int32)


def dequantise(
    sums_MxN: jax.Array,
    row_scales_Mx1: jax.Array,
    column_scales_N: jax.Array,
    bias_N: jax.Array | None = None,
    activation: str | None = None,
) -> jax.Array:
    """activation(sums * row scale * column scale + bias): float32 [M, N] of int32 sums."""
    y_MxN = sums_MxN.astype(jnp.float32) * row_scales_Mx1 * column_scales_N
    return activate(y_MxN if bias_N is None else y_MxN + bias_N, activation)


def int8_matmul(
    x_MxK: jax.Array,
    w_KxN: jax.Array,
    column_scales_N: jax.Array,
    bias_N: jax.Array | None = None,
    activation: str | None = None,
) -> jax.Array:
    """activation(x w + bias) with x quantised by row on the way: [M, N] of x's dtype.

    Args:
      x_MxK: floating point.
      w_KxN: int8 weights, and
      column_scales_N: their scales, of `quantise_columns`.
      bias_N: floating point.
      activation: one of `chains.ACTIVATIONS`.
    """
    values_MxK, row_scales_Mx1 = quantise_rows(x_MxK)
    sums_MxN = int8_product(values_MxK, w_KxN)
    return dequantise(sums_MxN, row_scales_Mx1, column_scales_N, bias_N, activation).astype(x_MxK.dtype)
