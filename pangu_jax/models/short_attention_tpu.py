"""Attention of short rows on a TPU: a head of sixteen pictures at a time, in vector memory.

The compiler lays activations out with pictures beside channels, [T, H, 3, B, K]: then nothing is padded, and
a kernel that takes them so needs no copy. The rows of one picture lie a stride apart there, and a strided
load collects them; it takes words of 32 bits, so two neighbouring pictures, which bfloat16 packs into one
word, are loaded and stored together.
"""

import functools

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu

from pangu_jax.models.short_attention_head import attended, gradients

LANES = 128  # the width of a head: a strided load takes one tile
PICTURES = 16  # at a time: a tile of bfloat16
LONGEST = 256  # rows: their scores must stay in vector memory


def fits(shape: tuple[int, ...]) -> bool:
    """Whether the kernel takes [B, T, H, 3, K] in bfloat16."""
    batch, length, _, _, width = shape
    return batch % PICTURES == 0 and length <= LONGEST and width == LANES


def forward(projected_BxTxHx3xK: jax.Array, interpret: bool) -> jax.Array:
    """What each head makes of queries, keys and values, [B, T, H, K]."""
    batch, length, heads, _, width = projected_BxTxHx3xK.shape
    parts, merged = _blocks(length)
    call = pl.pallas_call(
        functools.partial(_forward, *_moves(interpret)),
        out_shape=jax.ShapeDtypeStruct((length, heads, batch, width), projected_BxTxHx3xK.dtype),
        grid=(batch // PICTURES, heads),
        in_specs=parts,
        out_specs=merged,
        compiler_params=pltpu.CompilerParams(dimension_semantics=("parallel", "parallel")),
        cost_estimate=_cost(batch * heads, length, products=2, passes=4),
        interpret=interpret,
        name="short_attention",
    )
    return call(*[_by_row(projected_BxTxHx3xK)] * 3).transpose(2, 0, 1, 3)


def backward(projected_BxTxHx3xK: jax.Array, d_out_BxTxHxK: jax.Array, interpret: bool) -> jax.Array:
    """The gradient of `projected`, from that of `forward`'s result."""
    batch, length, heads, _, width = projected_BxTxHx3xK.shape
    parts, merged = _blocks(length)
    call = pl.pallas_call(
        functools.partial(_backward, *_moves(interpret)),
        out_shape=jax.ShapeDtypeStruct((length, heads, 3, batch, width), projected_BxTxHx3xK.dtype),
        # A step of the last dimension writes the gradient of queries, of keys or of values.
        grid=(batch // PICTURES, heads, 3),
        in_specs=[*parts, merged],
        out_specs=pl.BlockSpec((length, None, None, PICTURES, width), lambda b, h, at: (0, h, at, b, 0)),
        scratch_shapes=[pltpu.VMEM((length, PICTURES, width), projected_BxTxHx3xK.dtype)] * 2,
        compiler_params=pltpu.CompilerParams(dimension_semantics=("parallel", "parallel", "arbitrary")),
        cost_estimate=_cost(batch * heads, length, products=5, passes=7),
        interpret=interpret,
        name="short_attention_backward",
    )
    d_TxHx3xBxK = call(*[_by_row(projected_BxTxHx3xK)] * 3, d_out_BxTxHxK.transpose(1, 2, 0, 3))
    return d_TxHx3xBxK.transpose(3, 0, 1, 2, 4)


def _by_row(projected_BxTxHx3xK: jax.Array) -> jax.Array:
    return projected_BxTxHx3xK.transpose(1, 2, 3, 0, 4)


def _blocks(length: int) -> tuple[list[pl.BlockSpec], pl.BlockSpec]:
    """Where a head's queries, keys and values lie in [T, H, 3, B, K], and its result in [T, H, B, K]."""
    block = (length, None, None, PICTURES, LANES)
    parts = [pl.BlockSpec(block, lambda b, h, *_, at=at: (0, h, at, b, 0)) for at in range(3)]
    return parts, pl.BlockSpec((length, None, PICTURES, LANES), lambda b, h, *_: (0, h, b, 0))


def _cost(rows: int, length: int, products: int, passes: int) -> pl.CostEstimate:
    """Of so many pictures and heads: products as the matrix unit does them, in whole tiles."""
    keys = -(-length // LANES) * LANES
    rows_of_tiles = -(-length // 8) * 8
    return pl.CostEstimate(
        flops=rows * products * 2 * rows_of_tiles * keys * LANES,
        transcendentals=rows * length * length,
        bytes_accessed=rows * passes * 2 * length * LANES,
    )


def _forward(load, store, q_ref, k_ref, v_ref, out_ref):
    head = functools.partial(attended, length=q_ref.shape[0], product=_product)
    for pair in range(PICTURES // 2):
        loaded = [load(ref, pair) for ref in (q_ref, k_ref, v_ref)]
        store(out_ref, pair, map(head, *loaded))


def _backward(load, store, q_ref, k_ref, v_ref, d_out_ref, d_ref, d_k_ref, d_v_ref):
    part = pl.program_id(2)
    head = functools.partial(gradients, length=q_ref.shape[0], product=_product)

    @pl.when(part == 0)
    def _():
        for pair in range(PICTURES // 2):
            loaded = [load(ref, pair) for ref in (q_ref, k_ref, v_ref, d_out_ref)]
            made = zip(*map(head, *loaded), strict=True)
            for ref, pictures in zip((d_ref, d_k_ref, d_v_ref), made, strict=True):
                store(ref, pair, pictures)

    for at, kept in ((1, d_k_ref), (2, d_v_ref)):

        @pl.when(part == at)
        def _(kept=kept):
            d_ref[...] = kept[...]


def _product(a, b, of_a, of_b):
    """Summed over dimension `of_a` of a and `of_b` of b, in fp32."""
    return jax.lax.dot_general(a, b, (((of_a,), (of_b,)), ((), ())), preferred_element_type=jnp.float32)


def _moves(interpret):
    """How two pictures' rows are loaded and stored; the interpreter has no views of other types."""
    return (_load_plainly, _store_plainly) if interpret else (_load, _store)


def _load_plainly(ref, pair):
    return ref[:, 2 * pair, :], ref[:, 2 * pair + 1, :]


def _store_plainly(ref, pair, pictures):
    for half, picture_TxK in enumerate(pictures):
        ref[:, 2 * pair + half, :] = picture_TxK.astype(ref.dtype)


def _load(ref, pair):
    words, rows = _words(ref, pair)
    low = words[rows, :] << 16
    high = words[rows, :] & jnp.int32(-(1 << 16))
    return [jax.lax.bitcast_convert_type(half, jnp.float32).astype(ref.dtype) for half in (low, high)]


def _store(ref, pair, pictures):
    words, rows = _words(ref, pair)
    rounded = (picture.astype(ref.dtype).astype(jnp.float32) for picture in pictures)
    low, high = (jax.lax.bitcast_convert_type(picture, jnp.int32) for picture in rounded)
    words[rows, :] = jax.lax.shift_right_logical(low, 16) | high


def _words(ref, pair):
    """A block [T, 16, K] as words [8 T, K], and where those of pictures 2 i and 2 i + 1 are: one is the low
    half, one the high."""
    length, pictures, width = ref.shape
    words = ref.reshape(length * pictures, width).bitcast(jnp.int32)
    return words, pl.ds(pair, length, stride=pictures // 2)
