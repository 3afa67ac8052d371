"""Products of groups of rows, each group with a weight of its own, in the form that is fast where they run.

Rows lie group after group; what is behind the last group comes out as zeros, or as what no one reads.
"""

from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp

from pangu_jax.models import native
from pangu_jax.models.placement import Placement

# "native": the CPU backend's kernels. "blocks": batched products of blocks of rows, each with its group's
# weight: XLA's ragged product on a CPU multiplies all rows with all weights (13 times the time, measured with
# 16 groups). "megablox": JAX's kernels for a TPU, whose compiler has a kernel for the ragged product and none
# for the gradient of its weights, which it multiplies out for every group (16 times the FLOPs, counted with
# 16). They have not run on a chip here: compiled by the TPU compiler, and compared in interpret mode.
Form = Literal["native", "blocks", "megablox"]
SMALLEST, LARGEST = 8, 128  # rows of a block on a CPU
LARGEST_ON_GPU = 512  # where a block must be worth reading a weight for
TILE = (512, 1024, 1024)  # rows, columns and columns of a tile of megablox; about 10 MB of VMEM in bf16
LANES = 128
INTERPRETED = False  # what tests of "megablox" without a TPU set


class Groups(NamedTuple):
    """How rows must lie.

    Attributes:
      form: how products are carried out.
      block: what the rows of each group are a multiple of.
      rows: what all rows are a multiple of.
      filled: the part of them that is expected to be in a group: kernels pass over the others, and what a
        kernel says of its FLOPs has all.
    """

    form: Form
    block: int
    rows: int
    filled: float = 1.0


def form_for(placement: Placement, *arrays: jax.Array) -> Form:
    """How products with these arrays are carried out here."""
    if native.takes(placement, *arrays):
        return "native"
    return "megablox" if placement.platform == "tpu" else "blocks"


def groups_for(form: Form, rows: int, groups: int, platform: str) -> Groups:
    """How so many rows in so many groups must lie."""
    if form == "native":
        return Groups(form, 1, 1)
    if form == "megablox":
        return Groups(form, 1, min(TILE[0], _upward(rows // groups, LANES)))
    block, largest = SMALLEST, LARGEST if platform == "cpu" else LARGEST_ON_GPU
    while block < largest and 4 * block * groups <= rows:
        block *= 2
    return Groups(form, block, block)


@partial(jax.custom_vjp, nondiff_argnums=(3, 4))
def product(x_RxK: jax.Array, weight: jax.Array, sizes_E: jax.Array, narrows: bool, lie: Groups) -> jax.Array:
    """[R, N]: each row times its group's weight.

    Args:
      x_RxK: rows, by group.
      weight: [E, K, N]; one that narrows is stored with its output first, [E, N, K].
      sizes_E: int32, rows of each group, which sum to R at most.
      narrows: whether the weight narrows.
      lie: how rows lie, from `groups_for`.
    """
    if lie.form == "native":
        return native.grouped(x_RxK, weight, sizes_E, transposed=narrows)
    if lie.form == "megablox":
        gmm = _megablox().gmm
        tiling = _tiling(lie, x_RxK.shape[1], weight.shape[1 if narrows else 2])
        with _said(lie):
            return gmm(
                x_RxK, weight, sizes_E, x_RxK.dtype, tiling, transpose_rhs=narrows, interpret=INTERPRETED
            )
    weight_Bx = weight[_group_of_block(sizes_E, x_RxK.shape[0] // lie.block, lie.block)]
    x_BxMxK = x_RxK.reshape(-1, lie.block, x_RxK.shape[-1])
    y_BxMxN = jnp.einsum("bmk,bnk->bmn" if narrows else "bmk,bkn->bmn", x_BxMxK, weight_Bx)
    return y_BxMxN.reshape(x_RxK.shape[0], -1)


def _backward(narrows: bool, lie: Groups, saved, dy_RxN: jax.Array):
    x_RxK, weight, sizes_E = saved
    dx_RxK = product(dy_RxN, weight, sizes_E, not narrows, lie)
    first, second = (dy_RxN, x_RxK) if narrows else (x_RxK, dy_RxN)
    return dx_RxK, weight_gradient(first, second, sizes_E, lie).astype(weight.dtype), None


product.defvjp(
    lambda x, weight, sizes, narrows, lie: (product(x, weight, sizes, narrows, lie), (x, weight, sizes)),
    _backward,
)


@partial(jax.custom_vjp, nondiff_argnums=(4,))
def two_products(
    x_RxK: jax.Array, first: jax.Array, second: jax.Array, sizes_E: jax.Array, lie: Groups
) -> tuple[jax.Array, jax.Array]:
    """[R, N] twice: each row times its group's weight in both stacks [E, K, N], as `product`."""
    return product(x_RxK, first, sizes_E, False, lie), product(x_RxK, second, sizes_E, False, lie)


def _two_backward(lie: Groups, saved, dy: tuple[jax.Array, jax.Array]):
    x_RxK, first, second, sizes_E = saved
    if lie.form == "megablox":
        # No compiler adds to what a kernel gives: two kernels' sum would be a pass over all rows of its own.
        both = (jnp.concatenate(pair, axis=-1) for pair in (dy, (first, second)))
        dx_RxK = product(*both, sizes_E, True, lie)
    else:
        each = (product(one, w, sizes_E, True, lie) for one, w in zip(dy, (first, second), strict=True))
        dx_RxK = sum(each)
    dw = (
        weight_gradient(x_RxK, one, sizes_E, lie).astype(w.dtype)
        for one, w in zip(dy, (first, second), strict=True)
    )
    return dx_RxK, *dw, None


two_products.defvjp(
    lambda x, first, second, sizes, lie: (
        two_products(x, first, second, sizes, lie),
        (x, first, second, sizes),
    ),
    _two_backward,
)


def weight_gradient(x_RxK: jax.Array, y_RxN: jax.Array, sizes_E: jax.Array, lie: Groups) -> jax.Array:
    """[E, K, N]: of each group, the transpose of its rows of x times its rows of y."""
    if lie.form == "native":
        return native.grouped_gradient(x_RxK, y_RxN, sizes_E)
    if lie.form == "megablox":
        tgmm, tiling = _megablox().tgmm, _tiling(lie, x_RxK.shape[1], y_RxN.shape[1])
        with _said(lie):
            return tgmm(x_RxK.T, y_RxN, sizes_E, x_RxK.dtype, tiling, interpret=INTERPRETED)
    block, blocks = lie.block, x_RxK.shape[0] // lie.block
    x_BxMxK, y_BxMxN = (a.reshape(blocks, block, -1) for a in (x_RxK, y_RxN))
    group_B = _group_of_block(sizes_E, blocks, block)
    used_B = (jnp.arange(blocks) * block < jnp.sum(sizes_E)).astype(x_RxK.dtype)
    each_BxKxN = jnp.einsum("bmk,bmn->bkn", x_BxMxK * used_B[:, None, None], y_BxMxN)
    return jax.ops.segment_sum(each_BxKxN, group_B, sizes_E.shape[0], indices_are_sorted=True)


def _megablox():
    from importlib import import_module  # the package has a function of the module's name

    return import_module("jax.experimental.pallas.ops.tpu.megablox.gmm")


def _said(lie: Groups) -> AbstractContextManager[object]:
    """Puts `filled` into the kernel's name, where the count of a compiled program finds it."""
    return jax.named_scope(f"filled_{lie.filled:.4f}") if lie.filled < 1 else nullcontext()


def _tiling(lie: Groups, inner: int, outer: int) -> tuple[int, int, int]:
    return lie.rows, min(TILE[1], _upward(inner, LANES)), min(TILE[2], _upward(outer, LANES))


def _upward(size: int, multiple: int) -> int:
    return max(1, -(-size // multiple)) * multiple


def _group_of_block(sizes_E: jax.Array, blocks: int, block: int) -> jax.Array:
    """Of blocks behind the last group, the last."""
    end_E = jnp.cumsum(sizes_E) // block
    found_B = jnp.sum(jnp.arange(blocks)[:, None] >= end_E, axis=1)
    return jnp.minimum(found_B, sizes_E.shape[0] - 1)
