"""Attention inside windows of a field on a TPU, by kernels: scores never leave vector memory.

A program has a ring of windows around the globe, those that share a bias, and takes one after the other with
all its heads (`window_programs_tpu`). The bias is loaded once for a ring, and its gradient added up in place.

It has not run on a chip here: it is compiled by the chips' compiler, and compared in interpret mode.
"""

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu

from pangu_jax.workloads.science.model.window_programs_tpu import attend_ring, pull_ring
from pangu_jax.workloads.science.model.window_tiles import LANES, WindowTiles

MEMORY = 56 * 2**20  # bytes of vector memory that a program may use


def attend(
    projected_BxZxYxCxWxL: jax.Array,
    bias_GxHxMxN: jax.Array,
    shape: WindowTiles,
    roll: bool,
    interpret: bool = False,
) -> jax.Array:
    """softmax(q k^T + bias) v in every window, [B, Z, Y, rows, W, 128], bfloat16; of windows that fit.

    Args:
      projected_BxZxYxCxWxL: queries (scaled), keys and values of whole windows of Z levels, Y latitudes and W
        longitudes, as `WindowTiles.laid_out` has them; rolled by half a window in level and latitude already.
      bias_GxHxMxN: of each window of level and latitude, key by query.
      shape: of a window.
      roll: whether windows begin half a window further on in longitude; the last is cut by the date line.
      interpret: without a TPU.
    """

    @jax.custom_vjp
    def attended(projected: jax.Array, whole: jax.Array, rest: jax.Array) -> jax.Array:
        return _forward(shape, roll, interpret, projected, whole, rest)[0]

    def forward(projected: jax.Array, whole: jax.Array, rest: jax.Array):
        out, *sums = _forward(shape, roll, interpret, projected, whole, rest)
        return out, (projected, whole, rest, out, *sums)

    def backward(saved: Sequence[jax.Array], d_out: jax.Array):
        d_projected, *d_bias = _backward(shape, roll, interpret, *saved, d_out)
        return d_projected, *(made.astype(saved[1].dtype) for made in d_bias)

    attended.defvjp(forward, backward)
    return attended(projected_BxZxYxCxWxL, *shape.split(bias_GxHxMxN))


def _forward(shape: WindowTiles, roll: bool, interpret: bool, *arrays: jax.Array) -> Sequence[jax.Array]:
    """Results, and logarithms of sums over keys, fp32: [B, G, windows, heads, whole], [..., rows, rest]."""
    batch, levels, latitudes, _, longitudes, _ = arrays[0].shape
    around = (batch, arrays[1].shape[0], longitudes // shape.window[2])
    across = latitudes // shape.window[1]
    made = (
        jax.ShapeDtypeStruct((batch, levels, latitudes, shape.rows, longitudes, LANES), arrays[0].dtype),
        jax.ShapeDtypeStruct((*around, shape.heads, shape.whole), jnp.float32),
        jax.ShapeDtypeStruct((*around, shape.rows, shape.per_row * shape.rest), jnp.float32),
    )
    return pl.pallas_call(
        functools.partial(attend_ring, shape, roll, interpret),
        out_shape=made,
        grid=(levels // shape.window[0], across, batch),
        in_specs=[_ring(shape, arrays[0]), *(_of_kind(array, across) for array in arrays[1:])],
        out_specs=[_ring(shape, made[0]), *(_of_ring(array, across) for array in made[1:])],
        scratch_shapes=[_scratch(shape, shape.projected), _scratch(shape, shape.rows)],
        compiler_params=pltpu.CompilerParams(
            dimension_semantics=("parallel", "parallel", "parallel"), vmem_limit_bytes=MEMORY
        ),
        cost_estimate=_cost(shape, around, products=2, rows=shape.projected + shape.rows),
        interpret=interpret,
        name="window_attention",
    )(*arrays)


def _backward(shape: WindowTiles, roll: bool, interpret: bool, *arrays: jax.Array) -> Sequence[jax.Array]:
    """The gradient of what was projected, and those of the bias, fp32."""
    projected, whole, rest, out, sums, rest_sums, d_out = arrays
    made = (projected, *(jax.ShapeDtypeStruct(part.shape, jnp.float32) for part in (whole, rest)))
    around = (projected.shape[0], whole.shape[0], sums.shape[2])
    levels, across = projected.shape[1] // shape.window[0], projected.shape[2] // shape.window[1]
    own = [_ring(shape, projected), _of_kind(whole, across), _of_kind(rest, across)]
    rings = [_ring(shape, out), _of_ring(sums, across), _of_ring(rest_sums, across), _ring(shape, d_out)]
    return pl.pallas_call(
        functools.partial(pull_ring, shape, roll, interpret),
        out_shape=[jax.ShapeDtypeStruct(part.shape, part.dtype) for part in made],
        grid=(levels, across, around[0]),
        in_specs=[*own, *rings],
        out_specs=own,
        scratch_shapes=[
            _scratch(shape, rows) for rows in (shape.projected, shape.rows, shape.rows, shape.projected)
        ],
        # One example after the other: the gradient of a bias is added up over them.
        compiler_params=pltpu.CompilerParams(
            dimension_semantics=("parallel", "parallel", "arbitrary"), vmem_limit_bytes=MEMORY
        ),
        cost_estimate=_cost(shape, around, products=5, rows=2 * (shape.projected + shape.rows)),
        interpret=interpret,
        name="window_attention_backward",
    )(*arrays)


def _ring(shape: WindowTiles, array: Any) -> pl.BlockSpec:
    """The windows around the globe of one level and latitude, of [B, Z, Y, C, W, 128]."""
    return pl.BlockSpec(
        (None, *shape.window[:2], *array.shape[3:]), lambda level, latitude, b: (b, level, latitude, 0, 0, 0)
    )


def _of_ring(array: Any, across: int) -> pl.BlockSpec:
    return pl.BlockSpec(
        (None, None, *array.shape[2:]), lambda level, latitude, b: (b, level * across + latitude, 0, 0, 0)
    )


def _of_kind(array: Any, across: int) -> pl.BlockSpec:
    return pl.BlockSpec(
        (None, *array.shape[1:]), lambda level, latitude, b: (level * across + latitude, 0, 0, 0)
    )


def _scratch(shape: WindowTiles, rows: int) -> Any:
    """Room for a window, [C, N, 128]."""
    return pltpu.VMEM((rows, shape.length, LANES), jnp.bfloat16)


def _cost(shape: WindowTiles, around: tuple[int, int, int], products: int, rows: int) -> pl.CostEstimate:
    """Products as the matrix unit does them: a tile of keys by 128 queries by 128 lanes."""
    windows = around[0] * around[1] * around[2]
    tiles = windows * len(shape.tiles())
    return pl.CostEstimate(
        flops=tiles * products * 2 * shape.length * LANES * LANES,
        transcendentals=tiles * shape.length * LANES,
        bytes_accessed=windows * rows * 2 * shape.length * LANES,
    )
