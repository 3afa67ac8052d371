"""Products of groups of rows, each group with a weight of its own, in the form that is fast where they run.

Rows lie group after group; what is behind the last group comes out as zeros, or as what no one reads.
"""

from functools import partial
from typing import Literal

import jax
import jax.numpy as jnp

from pangu_jax.models import native
from pangu_jax.models.placement import Placement

# "native": the CPU backend's kernels. "blocks": batched products of blocks of rows, each with its group's
# weight: XLA's ragged product on a CPU multiplies all rows with all weights (13 times the time, measured with
# 16 groups). "ragged": XLA's own, which a TPU and a GPU carry out without such waste.
Form = Literal["native", "blocks", "ragged"]
SMALLEST, LARGEST = 8, 128  # rows of a block


def form_for(placement: Placement, *arrays: jax.Array) -> Form:
    """How products with these arrays are carried out here."""
    if native.takes(placement, *arrays):
        return "native"
    return "blocks" if placement.platform == "cpu" else "ragged"


def rows_of_a_block(form: Form, rows: int, groups: int) -> int:
    """What each group's number of rows must be a multiple of; 1 where it need not be any."""
    if form != "blocks":
        return 1
    block = SMALLEST
    while block < LARGEST and 4 * block * groups <= rows:
        block *= 2
    return block


@partial(jax.custom_vjp, nondiff_argnums=(3, 4, 5))
def product(
    x_RxK: jax.Array, weight: jax.Array, sizes_E: jax.Array, narrows: bool, form: Form, block: int
) -> jax.Array:
    """[R, N]: each row times its group's weight.

    Args:
      x_RxK: rows, by group.
      weight: [E, K, N]; one that narrows is stored with its output first, [E, N, K].
      sizes_E: int32, rows of each group: multiples of `block`, which sum to R at most.
      narrows: whether the weight narrows.
      form: how.
      block: as `rows_of_a_block` gives it.
    """
    if form == "native":
        return native.grouped(x_RxK, weight, sizes_E, transposed=narrows)
    if form == "ragged":
        return _ragged(x_RxK, jnp.swapaxes(weight, 1, 2) if narrows else weight, sizes_E)
    weight_Bx = weight[_group_of_block(sizes_E, x_RxK.shape[0] // block, block)]
    x_BxMxK = x_RxK.reshape(-1, block, x_RxK.shape[-1])
    y_BxMxN = jnp.einsum("bmk,bnk->bmn" if narrows else "bmk,bkn->bmn", x_BxMxK, weight_Bx)
    return y_BxMxN.reshape(x_RxK.shape[0], -1)


def _backward(narrows: bool, form: Form, block: int, saved, dy_RxN: jax.Array):
    x_RxK, weight, sizes_E = saved
    dx_RxK = product(dy_RxN, weight, sizes_E, not narrows, form, block)
    first, second = (dy_RxN, x_RxK) if narrows else (x_RxK, dy_RxN)
    return dx_RxK, weight_gradient(first, second, sizes_E, form, block).astype(weight.dtype), None


product.defvjp(
    lambda x, weight, sizes, narrows, form, block: (
        product(x, weight, sizes, narrows, form, block),
        (x, weight, sizes),
    ),
    _backward,
)


def weight_gradient(
    x_RxK: jax.Array, y_RxN: jax.Array, sizes_E: jax.Array, form: Form, block: int
) -> jax.Array:
    """[E, K, N]: of each group, the transpose of its rows of x times its rows of y; sums in fp32."""
    if form == "native":
        return native.grouped_gradient(x_RxK, y_RxN, sizes_E)
    if form == "ragged":
        numbers = jax.lax.RaggedDotDimensionNumbers((((0,), (0,)), ((), ())), [0], [])
        out = x_RxK.dtype
        return jax.lax.ragged_dot_general(x_RxK, y_RxN, sizes_E, numbers, preferred_element_type=out)
    blocks = x_RxK.shape[0] // block
    x_BxMxK, y_BxMxN = (a.reshape(blocks, block, -1) for a in (x_RxK, y_RxN))
    group_B = _group_of_block(sizes_E, blocks, block)
    used_B = (jnp.arange(blocks) * block < jnp.sum(sizes_E)).astype(x_RxK.dtype)
    each_BxKxN = jnp.einsum("bmk,bmn->bkn", x_BxMxK * used_B[:, None, None], y_BxMxN)
    return jax.ops.segment_sum(each_BxKxN, group_B, sizes_E.shape[0], indices_are_sorted=True)


def _ragged(x_RxK: jax.Array, weight_ExKxN: jax.Array, sizes_E: jax.Array) -> jax.Array:
    return jax.lax.ragged_dot(x_RxK, weight_ExKxN, sizes_E, preferred_element_type=x_RxK.dtype)


def _group_of_block(sizes_E: jax.Array, blocks: int, block: int) -> jax.Array:
    """Of blocks behind the last group, the last."""
    end_E = jnp.cumsum(sizes_E) // block
    found_B = jnp.sum(jnp.arange(blocks)[:, None] >= end_E, axis=1)
    return jnp.minimum(found_B, sizes_E.shape[0] - 1)
