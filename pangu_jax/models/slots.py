"""Pairs of tokens and experts in the order of the experts, and back: by gathers, and so are their gradients.

A slot is a row of what a grouped product takes. Nothing is dropped: there is a slot for every pair whose
expert is here.
"""

import functools
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp


class Slots(NamedTuple):
    """Where pairs are.

    Attributes:
      row_R: int32, the row that a slot holds; N where it is empty.
      slot_NxK: int32, the slot of each pair; R where its expert is elsewhere.
      sizes_E: int32, slots of each expert, multiples of the block.
    """

    row_R: jax.Array
    slot_NxK: jax.Array
    sizes_E: jax.Array


def of_here(
    expert_NxK: jax.Array, weight_NxK: jax.Array, experts: int, most: int
) -> tuple[jax.Array, jax.Array]:
    """[N, most] each: of every row the pairs whose expert is one of 0 ... experts - 1, before others.

    What follows makes a pass over rows per pair: of eight, two may be here.
    """
    if most >= expert_NxK.shape[1]:
        return expert_NxK, weight_NxK
    elsewhere_NxK = (expert_NxK < 0) | (expert_NxK >= experts)
    place_NxM = jnp.argsort(elsewhere_NxK, axis=1, stable=True)[:, :most]
    return jnp.take_along_axis(expert_NxK, place_NxM, 1), jnp.take_along_axis(weight_NxK, place_NxM, 1)


def assign(expert_NxK: jax.Array, experts: int, block: int, multiple: int) -> Slots:
    """Slots of all pairs whose expert is one of 0 ... experts - 1.

    Args:
      expert_NxK: int32; any other number is an expert elsewhere.
      experts: E, those that are here.
      block: what the number of each expert's slots is a multiple of.
      multiple: what the number of all slots is a multiple of, and a multiple of the block.
    """
    rows, chosen = expert_NxK.shape
    slots = rows * chosen + experts * (block - 1)
    slots = -(-slots // multiple) * multiple
    here_NxK = (expert_NxK >= 0) & (expert_NxK < experts)
    expert_P = jnp.where(here_NxK, expert_NxK, experts).reshape(-1)
    order_P = jnp.argsort(expert_P, stable=True).astype(jnp.int32)
    sorted_P = expert_P[order_P]
    count_E1 = jnp.bincount(expert_P, length=experts + 1).astype(jnp.int32)
    sizes_E = -(-count_E1[:experts] // block) * block
    moved_E = (jnp.cumsum(sizes_E) - sizes_E) - (jnp.cumsum(count_E1) - count_E1)[:experts]
    slot_P = jnp.arange(rows * chosen, dtype=jnp.int32) + moved_E[jnp.minimum(sorted_P, experts - 1)]
    slot_P = jnp.where(sorted_P < experts, slot_P, slots)
    row_R = jnp.full(slots, rows, jnp.int32).at[slot_P].set(order_P // chosen, mode="drop")
    slot_NxK = jnp.zeros(rows * chosen, jnp.int32).at[order_P].set(slot_P, unique_indices=True)
    return Slots(row_R, slot_NxK.reshape(rows, chosen), sizes_E)


@jax.custom_vjp
def spread(x_NxD: jax.Array, slots: Slots) -> jax.Array:
    """[R, D]: each slot's row. An empty one has some row: nothing is made of it, and zeros cost a pass."""
    return x_NxD.at[slots.row_R].get(mode="clip")


def _spread_backward(saved, d_RxD):
    slots, dtype = saved
    ones_NxK = jnp.ones(slots.slot_NxK.shape, jnp.float32)
    return _summed(d_RxD, ones_NxK, slots).astype(dtype.dtype), None


spread.defvjp(lambda x, slots: (spread(x, slots), (slots, jnp.zeros(0, x.dtype))), _spread_backward)


@jax.custom_vjp
def collect(y_RxD: jax.Array, weight_NxK: jax.Array, slots: Slots) -> jax.Array:
    """[N, D]: of each row, the sum over its pairs that are here of weight times slot; summed in fp32."""
    return _summed(y_RxD, weight_NxK, slots).astype(y_RxD.dtype)


def _collect_backward(saved, d_NxD):
    y_RxD, weight_NxK, slots = saved
    count = y_RxD.shape[0]
    weight_R = jnp.zeros(count, jnp.float32).at[slots.slot_NxK].set(weight_NxK, mode="drop")
    d_RxD = (_taken(d_NxD, slots.row_R).astype(jnp.float32) * weight_R[:, None]).astype(y_RxD.dtype)
    along = partial(jnp.sum, axis=-1, dtype=jnp.float32)
    each = [along(d_NxD * _taken(y_RxD, slot_N)) for slot_N in slots.slot_NxK.T]
    return d_RxD, jnp.stack(each, axis=-1), None


collect.defvjp(
    lambda y, weight, slots: (collect(y, weight, slots), (y, weight, slots)),
    _collect_backward,
)


def _summed(y_RxD: jax.Array, weight_NxK: jax.Array, slots: Slots) -> jax.Array:
    pairs = zip(weight_NxK.T, slots.slot_NxK.T, strict=True)
    terms = (weight_N[:, None] * _taken(y_RxD, slot_N).astype(jnp.float32) for weight_N, slot_N in pairs)
    return functools.reduce(jnp.add, terms)


def _taken(x_NxD: jax.Array, row_R: jax.Array) -> jax.Array:
    """Rows, zeros for a number behind the last."""
    return x_NxD.at[row_R].get(mode="fill", fill_value=0)
