"""Attention of short rows on a GPU: one program per example and head, its scores in registers (Triton)."""

import functools

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton as plgpu

from pangu_jax.models.short_attention_head import attended, gradients

ROWS = 64  # of a program's arrays; Triton's are powers of two, and what is too much is masked


def fits(shape: tuple[int, ...]) -> bool:
    """Whether the kernel takes [B, T, H, 3, K] in bfloat16."""
    _, length, _, _, width = shape
    return length <= ROWS and width in (32, 64, 128)


def forward(projected_BxTxHx3xK: jax.Array, interpret: bool) -> jax.Array:
    """What each head makes of queries, keys and values, [B, T, H, K]."""
    batch, length, heads, _, width = projected_BxTxHx3xK.shape
    return pl.pallas_call(
        functools.partial(_forward, length),
        out_shape=jax.ShapeDtypeStruct((batch, length, heads, width), projected_BxTxHx3xK.dtype),
        grid=(batch, heads),
        in_specs=[_projected(width)],
        out_specs=_merged(width),
        compiler_params=plgpu.CompilerParams(num_warps=4, num_stages=1),
        interpret=interpret,
        name="short_attention",
    )(projected_BxTxHx3xK)


def backward(projected_BxTxHx3xK: jax.Array, d_out_BxTxHxK: jax.Array, interpret: bool) -> jax.Array:
    """The gradient of `projected`, from that of `forward`'s result."""
    batch, length, heads, _, width = projected_BxTxHx3xK.shape
    return pl.pallas_call(
        functools.partial(_backward, length),
        out_shape=jax.ShapeDtypeStruct(projected_BxTxHx3xK.shape, projected_BxTxHx3xK.dtype),
        grid=(batch, heads),
        in_specs=[_projected(width), _merged(width)],
        out_specs=_projected(width),
        compiler_params=plgpu.CompilerParams(num_warps=4, num_stages=1),
        interpret=interpret,
        name="short_attention_backward",
    )(projected_BxTxHx3xK, d_out_BxTxHxK)


def _projected(width: int) -> pl.BlockSpec:
    return pl.BlockSpec((None, ROWS, None, 3, width), lambda b, h: (b, 0, h, 0, 0))


def _merged(width: int) -> pl.BlockSpec:
    return pl.BlockSpec((None, ROWS, None, width), lambda b, h: (b, 0, h, 0))


def _forward(length, projected_ref, out_ref):
    q, k, v = (_load(projected_ref.at[:, jnp.int32(part), :], length) for part in range(3))
    _store(out_ref, attended(q, k, v, length, _product), length)


def _backward(length, projected_ref, d_out_ref, d_ref):
    q, k, v = (_load(projected_ref.at[:, jnp.int32(part), :], length) for part in range(3))
    d_out = _load(d_out_ref, length)
    for part, gradient in enumerate(gradients(q, k, v, d_out, length, _product)):
        _store(d_ref.at[:, jnp.int32(part), :], gradient, length)


def _product(a, b, of_a, of_b):
    """Summed over dimension `of_a` of a and `of_b` of b, in fp32."""
    a = a.T if of_a == 0 else a
    b = b.T if of_b == 1 else b
    return pl.dot(a, b)


def _load(ref, length):
    """[64, K], zeros for rows that are not there."""
    return plgpu.load(ref, mask=_there(ref, length), other=0.0)


def _store(ref, x_TxK, length):
    plgpu.store(ref, x_TxK.astype(ref.dtype), mask=_there(ref, length))


def _there(ref, length):
    return jnp.broadcast_to((jnp.arange(ROWS) < length)[:, None], (ROWS, ref.shape[-1]))
