"""Microbatches around a ring of stages, with a backward pass of its own: the ticks again, in reverse.

Differentiating a scan over ticks would add a whole stage's gradients to a sum in every tick, and stack what a
chunk keeps twice, over its layers and over ticks. Here each tick adds the gradients of the chunk that it
ran, in place, and what a chunk keeps is stacked once; of that, what can be cut again from the weights and
the batch is not kept at all.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from pangu_jax.parallel.schedules import RingSchedule, Slot
from pangu_jax.parallel.stage import STAGE, Payload, PipelineStage, Program, Tree, Weights, add_at, at


def run_ring(
    program: Program,
    layout: Any,
    towers: tuple[int, ...],
    rounds: int,
    weights: Weights,
    slots: Weights | None,
    parts: Tree,
    begun: Payload,
) -> Payload:
    """Payloads [microbatches, ...] as they arrive on stage 0 after the last round.

    Args:
      program: the model.
      layout: stage and microbatches.
      towers: numbers of the towers that the ring runs.
      rounds: that each of them makes.
      weights: of this stage.
      slots: fp32, takes the gradients of the weights.
      parts: the batch, [microbatches, ...].
      begun: what enters the first tower, [microbatches, ...], whose gradient goes to it.
    """
    ring = RingSchedule(layout.stage, layout.microbatches, rounds * len(towers))
    last = [ring.forward_tick(m, ring.rounds - 1, ring.stages - 1) for m in range(ring.microbatches)]
    recall: list[Any] = []  # how to make a tick's backward pass from what was kept: known once it is traced

    def stage_here() -> PipelineStage:
        return PipelineStage(program, layout.stage, lax.axis_index(STAGE), towers, rounds)

    def inputs(stage: PipelineStage, weights: Weights, parts: Tree, begun: Payload, tick: jax.Array) -> tuple:
        """What a tick takes besides what arrives: what is differentiated, and what is not."""
        slot = ring.forward(tick, stage.index)
        cut = stage.own(weights.towers, slot.round), weights.shared, at(begun, slot.microbatch)
        return cut, (at(parts, slot.microbatch), slot)

    def forward(weights: Weights, parts: Tree, begun: Payload, keep: bool) -> tuple[Payload, list]:
        stage = stage_here()

        def tick(arrived, tick):
            cut, (part, slot) = inputs(stage, weights, parts, begun, tick)
            chunk = program.rematerialise(_chunk(stage, part, slot))
            kept = []
            if keep:
                payload, pull = jax.vjp(chunk, arrived, *cut)
                leaves, structure = jax.tree.flatten(pull)
                again = {id(leaf): i for i, leaf in enumerate(jax.tree.leaves((cut, part, slot)))}
                recall[:] = structure, [again.get(id(leaf)) for leaf in leaves]
                kept = [leaf for leaf in leaves if id(leaf) not in again]
            else:
                payload = chunk(arrived, *cut)
            arrived = stage.send(payload)
            return arrived, (arrived, kept)

        start = stage.empty(weights.shared, at(begun, 0), at(parts, 0))
        _, (arrivals, kept) = lax.scan(tick, start, jnp.arange(ring.ticks))
        return jax.tree.map(lambda x: x[jnp.array(last)], arrivals), kept

    def backward(saved: tuple, d_payloads: Payload) -> tuple:
        weights, parts, begun, kept = saved
        stage = stage_here()
        ends = jnp.full(ring.ticks, -1).at[jnp.array(last)].set(jnp.arange(ring.microbatches))

        def tick(carry, now):
            d_arrived, totals, d_begun = carry
            tick, kept = now
            cut, (part, slot) = inputs(stage, weights, parts, begun, tick)
            structure, places = recall
            again, rest = jax.tree.leaves((cut, part, slot)), iter(kept)
            pull = structure.unflatten([next(rest) if i is None else again[i] for i in places])
            d_arrived = jax.tree.map(
                lambda d, ended: d + jnp.where(ends[tick] >= 0, ended, 0),
                d_arrived,
                at(d_payloads, ends[tick]),
            )
            d_arrived, d_own, d_shared, d_new = pull(stage.send(d_arrived, -1))
            shared = jax.tree.map(lambda t, g: t + g.astype(t.dtype), totals.shared, d_shared)
            totals = Weights(stage.add_own(totals.towers, slot.round, d_own), shared)
            return (d_arrived, totals, add_at(d_begun, slot.microbatch, d_new)), None

        nothing = jax.tree.map(jnp.zeros_like, (at(d_payloads, 0), begun))
        totals = jax.tree.map(lambda w: jnp.zeros(w.shape, jnp.float32), weights)
        start = nothing[0], totals, nothing[1]
        (_, totals, d_begun), _ = lax.scan(tick, start, (jnp.arange(ring.ticks), kept), reverse=True)
        return totals, d_begun, None, None

    @jax.custom_vjp
    def run(slots: Weights | None, begun: Payload, weights: Weights, parts: Tree) -> Payload:
        del slots
        return forward(weights, parts, begun, keep=False)[0]

    def run_keeping(slots: Weights | None, begun: Payload, weights: Weights, parts: Tree) -> tuple:
        del slots
        payloads, kept = forward(weights, parts, begun, keep=True)
        return payloads, (weights, parts, begun, kept)

    run.defvjp(run_keeping, backward)
    return run(slots, begun, weights, parts)


def _chunk(stage: PipelineStage, part: Tree, slot: Slot) -> Callable[..., Payload]:
    """(arrived, own weights, shared weights, what enters the first tower) -> the payload after the chunk."""

    def chunk(arrived: Payload, own: tuple, shared: Tree, begun: Payload) -> Payload:
        def enter(starts: jax.Array, arrived: Payload) -> Payload:
            return arrived | {name: _choose(starts, begun[name], arrived[name]) for name in begun}

        return stage.chunk(own, shared, arrived, part, slot, enter)

    return chunk


def _choose(first: jax.Array, x: Tree, y: Tree) -> Tree:
    return jax.tree.map(lambda x, y: jnp.where(first, x, y), x, y)
