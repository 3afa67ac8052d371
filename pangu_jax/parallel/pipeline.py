"""The loss of a pipeline, differentiable: `gpipe` and `circular`. For `1f1b` see its own file.

`gpipe` runs one tower after the other; `circular` runs all towers as rounds of one ring, so that an encoder's
output arrives with its microbatch.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from pangu_jax.parallel import ring
from pangu_jax.parallel.collecting import over_stages, with_rows, without_rows
from pangu_jax.parallel.stage import STAGE, Payload, Program, Tree, Weights, at


def loss(program: Program, layout: Any, weights: Weights, slots: Weights | None, parts: Tree) -> Any:
    """Sums over this device's microbatches, with the rows of all of them, [microbatches, ...].

    Args:
      program: the model.
      layout: schedule, stage, repeats and microbatches.
      weights: of this stage; they are not differentiated.
      slots: fp32 zeros of the weights' shapes, which take their gradients; None where none are wanted.
      parts: the batch, [microbatches, ...].
    """
    towers = tuple(range(len(program.towers)))
    rings = [(tower,) for tower in towers] if layout.schedule == "gpipe" else [towers]
    weights = lax.stop_gradient(weights)

    def shared() -> Tree:
        """Called where they are used, so that what a scan adds to a slot is added in fp32."""
        return weights.shared if slots is None else jax.tree.map(_with_slot, weights.shared, slots.shared)

    payloads: Payload = {}
    for members in rings:
        begun = _begin(program, members[0], shared, parts, payloads)
        rounds = layout.rounds(len(towers))
        payloads = ring.run_ring(program, layout, members, rounds, weights, slots, parts, begun)
    return _share(program, layout.stage, shared, parts, payloads)


def _begin(program: Program, tower: int, shared: Callable[[], Tree], parts: Tree, before: Payload) -> Payload:
    """What enters a tower, [microbatches, ...]: all at once, since a branch in every tick would cost more."""

    @jax.checkpoint
    def begin(before, part):
        return program.begin(tower, shared(), before, part)

    return lax.scan(lambda _, inputs: (None, begin(*inputs)), None, (before, parts))[1]


def _share(program: Program, stages: int, shared: Callable[[], Tree], parts: Tree, payloads: Payload) -> Any:
    """The loss, each stage taking its share of the microbatches: the head is as wide as all stages."""
    index = lax.axis_index(STAGE)

    def deal(x: jax.Array) -> jax.Array:
        own = jnp.where(index == 0, x, 0)
        return lax.psum_scatter(own, STAGE, scatter_dimension=0, tiled=True) if stages > 1 else x

    def mine(x: jax.Array) -> jax.Array:
        share = x.shape[0] // stages
        return lax.dynamic_slice_in_dim(x, index * share, share, 0)

    @jax.checkpoint
    def finish(payload, part):
        return program.finish(shared(), payload, part)

    def add(sums, inputs):
        new, rows = without_rows(finish(*inputs))
        return jax.tree.map(jnp.add, sums, new), rows

    inputs = jax.tree.map(deal, payloads), jax.tree.map(mine, parts)
    shapes, _ = without_rows(jax.eval_shape(finish, *at(inputs, 0)))
    zeros = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)
    sums, rows = lax.scan(add, zeros, inputs)
    return with_rows(sums, over_stages(rows, stages, STAGE))


@jax.custom_vjp
def _with_slot(weight: jax.Array, slot: jax.Array) -> jax.Array:
    """The weight, with its gradient going to the slot, whose dtype it takes: bf16 weights, fp32 sums."""
    del slot
    return weight


_with_slot.defvjp(
    lambda weight, slot: (weight, None), lambda _, gradient: (None, gradient.astype(jnp.float32))
)
