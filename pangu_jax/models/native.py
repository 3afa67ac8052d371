"""Products, attention of few rows and norms by kernels of the CPU backend, where it has them.

A backend that has built its kernels registers them by name (`tpu_npu_backends/cpu_kernels`); what is here
calls them by that name, for one device and fp32 activations. The plain forms elsewhere compute the same.
"""

import math
from dataclasses import dataclass
from functools import partial
from typing import Literal

import jax
import jax.numpy as jnp

from pangu_jax.models.parameters import Tree
from pangu_jax.models.placement import OneDevice, Placement

ROWS = 6  # of a group in the packed form, as products.cc has it
LANES = 8  # a head's width is a multiple of it
FEW = 4096  # elements that are not worth a call
Shape = tuple[int, ...]
Weights = Literal["float32", "bfloat16", "int8"]


@partial(jax.tree_util.register_dataclass, data_fields=("groups", "scale_N"), meta_fields=("outputs",))
@dataclass(frozen=True)
class Packed:
    """A weight as the kernel reads it: in one stream.

    Attributes:
      groups: [P, D, 6], fp32, bf16 or int8: rows in groups of 6, which are side by side for each of D.
      scale_N: fp32 [N], what the int8 of a row are multiplied with; [0] for floats.
      outputs: the dimensions that N rows stand for.
    """

    groups: jax.Array
    scale_N: jax.Array
    outputs: Shape


def pack(weight: jax.Array, inputs: int, dtype: Weights = "float32") -> Packed:
    """A weight [*outputs, *inputs] for `product`.

    Args:
      weight: fp32.
      inputs: how many of its last dimensions are summed over.
      dtype: what is kept of it. int8: of each row the nearest of 255 steps up to its largest magnitude.
    """
    split = weight.ndim - inputs
    outputs = weight.shape[:split]
    rows_NxD = weight.reshape(_size(outputs), _size(weight.shape[split:]))
    scale_N = jnp.zeros((0,), jnp.float32)
    if dtype == "int8":
        scale_N = jnp.maximum(jnp.max(jnp.abs(rows_NxD), axis=1) / 127.0, jnp.finfo(jnp.float32).tiny)
        rows_NxD = jnp.round(rows_NxD / scale_N[:, None])
    count = -(-rows_NxD.shape[0] // ROWS)
    padded = jnp.pad(rows_NxD, ((0, count * ROWS - rows_NxD.shape[0]), (0, 0)))
    groups_PxDx6 = padded.reshape(count, ROWS, -1).swapaxes(1, 2)
    return Packed(groups_PxDx6.astype(dtype), scale_N, outputs)


def takes(placement: Placement, *arrays: jax.Array) -> bool:
    """Whether the kernels take these arrays: there are kernels, nothing is split, and all is fp32."""
    native = isinstance(placement, OneDevice) and placement.native
    return native and all(array.dtype == jnp.float32 for array in arrays)


def product(weight: Packed, x: jax.Array) -> jax.Array:
    """The weight times x [*inputs, R], fp32: [*outputs, R]."""
    columns = x.shape[-1]
    x_DxR = x.reshape(-1, columns)
    rows = jax.ShapeDtypeStruct((_size(weight.outputs), columns), jnp.float32)
    y_NxR = jax.ffi.ffi_call("pangu_few_columns", rows)(weight.groups, weight.scale_N, x_DxR)
    return y_NxR.reshape(*weight.outputs, columns)


def attend(
    q_BxHxMxK: jax.Array,
    k_BxHxKxC: jax.Array,
    v_BxHxCxK: jax.Array,
    mask_BxMxC: jax.Array,
    bias_HxMxC: jax.Array | None,
) -> jax.Array:
    """softmax(q k + bias, where mask) v, [B, H, M, K], fp32; M of mask and bias may be 1 for all."""
    if bias_HxMxC is None:
        bias_HxMxC = jnp.zeros((0, 1, 0), jnp.float32)
    out = jax.ShapeDtypeStruct(q_BxHxMxK.shape, jnp.float32)
    call = jax.ffi.ffi_call("pangu_few_queries", out)
    return call(q_BxHxMxK, k_BxHxKxC, v_BxHxCxK, mask_BxMxC, bias_HxMxC)


def matmul(x: jax.Array, weight: jax.Array, contracted: int) -> jax.Array:
    """x [*M, *K] times weight [*K, *N], fp32: [*M, *N]; K is `contracted` dimensions."""
    rows, inner = _split(x, x.ndim - contracted)
    _, columns = _split(weight, contracted)
    return _matmul(x.reshape(-1, _size(inner)), weight.reshape(_size(inner), -1), "plain", rows, columns)


def matmul_transposed(x: jax.Array, weight: jax.Array, contracted: int) -> jax.Array:
    """x [*M, *K] times the transpose of weight [*N, *K], fp32: [*M, *N]."""
    rows, inner = _split(x, x.ndim - contracted)
    columns, _ = _split(weight, weight.ndim - contracted)
    return _matmul(x.reshape(-1, _size(inner)), weight.reshape(-1, _size(inner)), "right", rows, columns)


def transposed_matmul(x: jax.Array, dy: jax.Array, contracted: int) -> jax.Array:
    """The transpose of x [*K, *M] times dy [*K, *N], fp32: [*M, *N]; a weight's gradient."""
    inner, rows = _split(x, contracted)
    _, columns = _split(dy, contracted)
    return _matmul(x.reshape(_size(inner), -1), dy.reshape(_size(inner), -1), "left", rows, columns)


def grouped(x_RxK: jax.Array, weight: jax.Array, sizes_E: jax.Array, transposed: bool) -> jax.Array:
    """Rows [R, K] times the weight [E, K, N] of their group, or the transpose of [E, N, K]: [R, N], fp32.

    `sizes_E` int32 are rows of each group, one group after the other; rows behind the last come out as zeros.
    """
    columns = weight.shape[1 if transposed else 2]
    out = jax.ShapeDtypeStruct((x_RxK.shape[0], columns), jnp.float32)
    call = jax.ffi.ffi_call("pangu_grouped", out, vmap_method="sequential")
    return call(x_RxK, weight, sizes_E, transposed=transposed)


def grouped_gradient(x_RxK: jax.Array, dy_RxN: jax.Array, sizes_E: jax.Array) -> jax.Array:
    """Of each group, the transpose of its rows of x times its rows of dy: [E, K, N], fp32."""
    shape = (sizes_E.shape[0], x_RxK.shape[1], dy_RxN.shape[1])
    out = jax.ShapeDtypeStruct(shape, jnp.float32)
    return jax.ffi.ffi_call("pangu_grouped_gradient", out, vmap_method="sequential")(x_RxK, dy_RxN, sizes_E)


def global_norm(tree: Tree) -> jax.Array:
    """The square root of the sum of all squares, fp32."""

    def squares(x: jax.Array) -> jax.Array:
        if x.dtype != jnp.float32 or x.size < FEW:
            return jnp.sum(jnp.square(x.astype(jnp.float32)))
        scalar = jax.ShapeDtypeStruct((), jnp.float32)
        return jax.ffi.ffi_call("pangu_sum_of_squares", scalar, vmap_method="sequential")(x)

    return jnp.sqrt(sum(map(squares, jax.tree.leaves(tree)), start=jnp.float32(0)))


def _matmul(a: jax.Array, b: jax.Array, transposed: str, rows: Shape, columns: Shape) -> jax.Array:
    out = jax.ShapeDtypeStruct((_size(rows), _size(columns)), jnp.float32)
    call = jax.ffi.ffi_call("pangu_matmul", out, vmap_method="sequential")
    return call(a, b, transposed=transposed).reshape(*rows, *columns)


def _split(x: jax.Array, at: int) -> tuple[Shape, Shape]:
    return x.shape[:at], x.shape[at:]


def _size(shape: Shape) -> int:
    return math.prod(shape)
