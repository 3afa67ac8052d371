"""1F1B inside one jitted step: every tick a forward and a backward chunk, and gradients as they come.

Nothing is differentiated from outside: a tick recomputes a chunk from its stashed input and pulls a cotangent
through it, so what a step holds does not depend on the number of microbatches.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from pangu_jax.parallel.collecting import with_rows, without_rows
from pangu_jax.parallel.schedules import OneForwardOneBackward
from pangu_jax.parallel.stage import STAGE, PipelineStage, Program, Tree, Weights, add_at, at, ordered_after


def gradients(program: Program, layout: Any, weights: Weights, parts: Tree) -> tuple[Weights, Any]:
    """(fp32 gradients of this stage's weights, sums of the microbatches that ended here).

    In the sums are the rows of all microbatches, [microbatches, ...].

    Args:
      program: the model.
      layout: stage, repeats and microbatches.
      weights: as the stage uses them.
      parts: the batch, [microbatches, ...].
    """
    towers = tuple(range(len(program.towers)))
    rounds = layout.rounds(len(towers))
    plan = OneForwardOneBackward(layout.stage, layout.microbatches, rounds * len(towers))
    stage = PipelineStage(program, layout.stage, lax.axis_index(STAGE), towers, rounds)
    begin = partial(program.begin, 0, weights.shared, {})
    payload = stage.empty(weights.shared, jax.eval_shape(begin, at(parts, 0)), at(parts, 0))
    one = jax.eval_shape(program.finish, weights.shared, payload, at(parts, 0))
    sums, rows = without_rows(jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), one))
    rows = jax.tree.map(lambda x: jnp.broadcast_to(x, (layout.microbatches, *x.shape)), rows)

    def chunk(own, shared, arrived, part, slot):
        def enter(starts, arrived):
            begun = lambda: arrived | program.begin(0, shared, {}, part)  # noqa: E731
            return lax.cond(starts, begun, lambda: arrived)

        return stage.chunk(own, shared, arrived, part, slot, enter)

    def end(shared, payload, part):
        """The sums of a microbatch, and the cotangents of what they come from."""
        loss = lambda shared, payload: ((sums := program.finish(shared, payload, part)).loss, sums)  # noqa: E731
        (d_shared, d_payload), sums = jax.grad(loss, argnums=(0, 1), has_aux=True)(shared, payload)
        return d_shared, d_payload, sums

    def tick(carry, tick):
        arrived, returned, stash, grads, sums, rows = carry
        slot = plan.forward(tick, stage.index)
        stash = jax.tree.map(
            lambda ring, x: lax.dynamic_update_index_in_dim(ring, x, tick % plan.stash, 0), stash, arrived
        )
        own = stage.own(weights.towers, slot.round)
        payload = stage.send(chunk(own, weights.shared, arrived, at(parts, slot.microbatch), slot))

        tick = ordered_after(payload, tick)
        slot = plan.backward(tick, stage.index)
        part = at(parts, slot.microbatch)
        stashed = at(stash, plan.forward_tick(slot.microbatch, slot.round, stage.index) % plan.stash)
        own = stage.own(weights.towers, slot.round)
        output, pull = jax.vjp(
            lambda own, shared, arrived: chunk(own, shared, arrived, part, slot), own, weights.shared, stashed
        )
        nothing = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), (weights.shared, output, one))
        ends = slot.valid & (stage.index == layout.stage - 1) & (slot.round == plan.rounds - 1)
        d_shared, d_output, new = lax.cond(ends, lambda: end(weights.shared, output, part), lambda: nothing)
        alive = slot.valid & ~ends
        d_output = jax.tree.map(
            lambda own, other: jnp.where(alive, other, own.astype(other.dtype)), d_output, returned
        )
        d_own, d_used, d_stashed = pull(d_output)
        shared = jax.tree.map(
            lambda total, *new: sum((g.astype(total.dtype) for g in new), total),
            grads.shared,
            d_shared,
            d_used,
        )
        grads = Weights(stage.add_own(grads.towers, slot.round, d_own), shared)
        new, new_rows = without_rows(new)
        sums = jax.tree.map(jnp.add, sums, new)
        rows = add_at(rows, slot.microbatch, new_rows)
        d_stashed = jax.tree.map(lambda x: ordered_after(grads, x), d_stashed)
        return (payload, stage.send(d_stashed, -1), stash, grads, sums, rows), None

    zeros = jax.tree.map(lambda w: jnp.zeros(w.shape, jnp.float32), weights)
    stash = jax.tree.map(lambda x: jnp.broadcast_to(x, (plan.stash, *x.shape)), payload)
    start = payload, payload, stash, zeros, sums, rows
    (_, _, _, grads, sums, rows), _ = lax.scan(tick, start, jnp.arange(plan.ticks))
    if layout.stage > 1:  # all of them are on the last stage, and zeros on the others
        rows = jax.tree.map(lambda x: lax.psum(x, STAGE), rows)
    return grads, with_rows(sums, rows)
