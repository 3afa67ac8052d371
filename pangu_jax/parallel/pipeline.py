"""Pipelines inside one jitted step: what a stage runs in a tick, and the loss as a scan over ticks.

The code runs under a shard_map in which `stage` is manual: each device owns a chunk of every tower, and one
ppermute a tick hands payloads to the next stage. `gpipe` runs one tower after the other; `circular` runs all
towers as rounds of one ring, so that an encoder's output arrives with its microbatch. For `1f1b` see
`one_forward_one_backward.py`. A bubble computes on zeros, and nothing of it is kept.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
from jax import lax

from pangu_jax.parallel.schedules import Ring, Slot

STAGE = "stage"
BUBBLE = 0.0  # what an unused payload holds before the first tick; tests put NaN here

Payload = dict[str, Any]
Tree = Any


class Program(Protocol):
    """What a model gives a pipeline: its towers of equal layers, and what stands before and after them."""

    towers: tuple[str, ...]

    def begin(self, tower: int, shared: Tree, payload: Payload, part: Tree) -> Payload:
        """What enters the first layer of a tower, from what left the tower before ({} for the first)."""

    def run(
        self, tower: int, layers: Tree, shared: Tree, payload: Payload, part: Tree, first: jax.Array
    ) -> Payload:
        """The payload after some layers, stacked in `layers`, of which the first is number `first`."""

    def finish(self, shared: Tree, payload: Payload, part: Tree) -> Any:
        """Sums over a microbatch; their `loss` is differentiated."""

    def remember(self, function: Callable) -> Callable:
        """The function, remembering of its forward pass what the layout's remat policy says."""


class Weights(NamedTuple):
    """Parameters as a stage uses them.

    Attributes:
      towers: for each tower, weights [rounds, layers, ...] of this stage.
      shared: all other parameters.
    """

    towers: tuple[Tree, ...]
    shared: Tree


class Stage(NamedTuple):
    """One device of the ring and the weights that it holds.

    Attributes:
      program: the model.
      stages: devices of the ring.
      index: this one, a traced integer.
      towers: numbers of the towers that the ring runs.
      rounds: rounds that each tower makes.
    """

    program: Program
    stages: int
    index: jax.Array
    towers: tuple[int, ...]
    rounds: int

    def chunk(self, weights: Weights, arrived: Payload, before: Payload, part: Tree, slot: Slot) -> Payload:
        """The payload after this stage's chunk of a round.

        Args:
          weights: of this stage.
          arrived: the payload from the stage before.
          before: what enters the ring's first tower, on stage 0; {} where it starts from the part alone.
          part: the microbatch.
          slot: what to do.
        """

        def of_tower(place: int) -> Callable[[Payload], Payload]:
            tower = self.towers[place]

            def run(arrived: Payload) -> Payload:
                round_ = slot.round - place * self.rounds
                starts = (self.index == 0) & (round_ == 0)
                source = arrived if place else before
                begun = lambda: arrived | self.program.begin(tower, weights.shared, source, part)  # noqa: E731
                payload = lax.cond(starts, begun, lambda: arrived)
                layers = jax.tree.map(lambda w: _at(w, round_), weights.towers[tower])
                depth = jax.tree.leaves(layers)[0].shape[0]
                first = (round_ * self.stages + self.index) * depth
                return self.program.run(tower, layers, weights.shared, payload, part, first)

            return run

        arrived = jax.tree.map(lambda x: jnp.where(slot.valid, x, 0), arrived)
        if len(self.towers) == 1:
            return of_tower(0)(arrived)
        place = slot.round // self.rounds
        return lax.switch(place, [of_tower(place) for place in range(len(self.towers))], arrived)

    def empty(self, weights: Weights, before: Payload, part: Tree) -> Payload:
        """A payload of the ring, holding `BUBBLE`."""
        payload = before
        for place, tower in enumerate(self.towers):
            source = payload if place else before
            shapes = jax.eval_shape(partial(self.program.begin, tower), weights.shared, source, part)
            payload = {**(payload if place else {}), **shapes}
        return jax.tree.map(lambda s: jnp.full(s.shape, BUBBLE, s.dtype), payload)

    def send(self, payload: Payload, step: int = 1) -> Payload:
        """To the next stage of the ring, or back to the one before with step -1."""
        pairs = [(source, (source + step) % self.stages) for source in range(self.stages)]
        return jax.tree.map(lambda x: lax.ppermute(x, STAGE, pairs), payload) if self.stages > 1 else payload


def after(tree: Tree, value: jax.Array) -> jax.Array:
    """The value, once the arrays of a tree are there.

    Stages take different branches, and collectives inside them concern other devices than those between
    stages. All devices must come to them in one order, and where no data flows from one to the other nothing
    else says which; a compiler may drop a barrier, but it does not know that nothing is larger than infinity.
    """
    firsts = [leaf.reshape(-1)[0].astype(jnp.float32) for leaf in jax.tree.leaves(tree)]
    impossible = jnp.any(jnp.stack(firsts) > jnp.inf)
    return jnp.where(impossible, jnp.zeros_like(value), value)


def at(parts: Tree, microbatch: jax.Array) -> Tree:
    """One microbatch of parts [microbatches, ...]."""
    return jax.tree.map(lambda x: _at(x, microbatch), parts)


def _at(x: jax.Array, index: jax.Array) -> jax.Array:
    return x[0] if x.shape[0] == 1 else lax.dynamic_index_in_dim(x, index, 0, keepdims=False)


def loss(program: Program, layout: Any, weights: Callable[[], Weights], parts: Tree) -> Any:
    """Sums over this device's microbatches, differentiable: `gpipe` and `circular`.

    Args:
      program: the model.
      layout: schedule, stage, repeats and microbatches.
      weights: makes the weights; called inside a tick, so that what it adds to them is added there.
      parts: the batch, [microbatches, ...].
    """
    towers = tuple(range(len(program.towers)))
    rings = [(tower,) for tower in towers] if layout.schedule == "gpipe" else [towers]
    payloads: Payload = {}
    for ring in rings:
        payloads = _around(program, layout, ring, layout.rounds(len(towers)), weights, parts, payloads)
    return _share(program, layout.stage, weights, parts, payloads)


def _around(program, layout, towers, rounds, weights, parts, before: Payload) -> Payload:
    """Payloads [microbatches, ...] as they arrive on stage 0 after the last round."""
    ring = Ring(layout.stage, layout.microbatches, rounds * len(towers))
    stage = Stage(program, layout.stage, lax.axis_index(STAGE), towers, rounds)

    @program.remember
    def chunk(arrived, before, part, slot):
        return stage.chunk(weights(), arrived, before, part, slot)

    def tick(arrived, tick):
        slot = ring.forward(tick, stage.index)
        payload = chunk(arrived, at(before, slot.microbatch), at(parts, slot.microbatch), slot)
        arrived = stage.send(payload)
        return arrived, arrived

    start = stage.empty(weights(), at(before, 0), at(parts, 0))
    _, arrivals = lax.scan(tick, start, jnp.arange(ring.ticks))
    last = [ring.forward_tick(m, ring.rounds - 1, layout.stage - 1) for m in range(layout.microbatches)]
    return jax.tree.map(lambda x: x[jnp.array(last)], arrivals)


def _share(program: Program, stages: int, weights, parts: Tree, payloads: Payload) -> Any:
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
        return program.finish(weights().shared, payload, part)

    def add(sums, inputs):
        return jax.tree.map(jnp.add, sums, finish(*inputs)), None

    inputs = jax.tree.map(deal, payloads), jax.tree.map(mine, parts)
    shapes = jax.eval_shape(finish, *at(inputs, 0))
    return lax.scan(add, jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes), inputs)[0]
