"""One device of a pipeline: what a stage holds, what it runs in a tick, and what it sends on.

The code runs under a shard_map in which `stage` is manual: each device owns a chunk of every tower, and one
ppermute per tick hands payloads to the next stage. A bubble computes on zeros, and nothing of it is kept.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
from jax import lax

from pangu_jax.parallel.schedules import Slot

STAGE = "stage"
BUBBLE = 0.0  # what an unused payload holds before the first tick; tests put NaN here

Payload = dict[str, Any]
Tree = Any


class Program(Protocol):
    """What a model gives a pipeline: its towers of equal layers, and what is before and after them."""

    @property
    def towers(self) -> tuple[str, ...]: ...

    def begin(self, tower: int, shared: Tree, payload: Payload, part: Tree) -> Payload:
        """What enters the first layer of a tower, from what left the tower before ({} for the first)."""
        ...

    def run(
        self, tower: int, layers: Tree, shared: Tree, payload: Payload, part: Tree, first: jax.Array
    ) -> Payload:
        """The payload after some layers, stacked in `layers`, of which the first is number `first`."""
        ...

    def finish(self, shared: Tree, payload: Payload, part: Tree) -> Any:
        """Sums over a microbatch; their `loss` is differentiated."""
        ...

    def rematerialise(self, function: Callable) -> Callable:
        """The function, keeping of its forward pass what the layout's remat policy says."""
        ...


class Weights(NamedTuple):
    """Parameters as a stage uses them.

    Attributes:
      towers: for each tower, weights [rounds, layers, ...] of this stage.
      shared: all other parameters.
    """

    towers: tuple[Tree, ...]
    shared: Tree


class PipelineStage(NamedTuple):
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

    def own(self, towers: tuple[Tree, ...], round_: jax.Array) -> tuple[Tree, ...]:
        """The weights of this stage's chunk in a round: [layers, ...] of each tower that the ring runs."""
        return tuple(
            jax.tree.map(lambda w, place=place: _at(w, self._round(place, round_)), towers[tower])
            for place, tower in enumerate(self.towers)
        )

    def add_own(
        self, totals: tuple[Tree, ...], round_: jax.Array, gradients: tuple[Tree, ...]
    ) -> tuple[Tree, ...]:
        """Totals with the gradients of `own` weights added where they belong, and untouched elsewhere.

        In place, within a loop. Differentiating `own` would add whole towers of zeros in every tick.
        """
        added = list(totals)
        for place, tower in enumerate(self.towers):
            index = self._round(place, round_)
            added[tower] = jax.tree.map(
                lambda t, g, i=index: _add_at(t, i, g), totals[tower], gradients[place]
            )
        return tuple(added)

    def chunk(
        self,
        own: tuple[Tree, ...],
        shared: Tree,
        arrived: Payload,
        part: Tree,
        slot: Slot,
        enter: Callable[[jax.Array, Payload], Payload],
    ) -> Payload:
        """The payload after this stage's chunk of a round.

        Args:
          own: its weights, see `own`.
          shared: weights outside the towers.
          arrived: the payload from the stage before.
          part: the microbatch.
          slot: what to do.
          enter: (whether this is the start, arrived) -> the payload before the first tower's first layer
            if it is, or else what arrived.
        """

        def of_tower(place: int) -> Callable[[Payload], Payload]:
            tower = self.towers[place]

            def begin(starts: jax.Array, arrived: Payload) -> Payload:
                begun = lambda: arrived | self.program.begin(tower, shared, arrived, part)  # noqa: E731
                return lax.cond(starts, begun, lambda: arrived)

            def run(arrived: Payload) -> Payload:
                round_ = slot.round - place * self.rounds
                starts = (self.index == 0) & (round_ == 0)
                payload = (begin if place else enter)(starts, arrived)
                depth = jax.tree.leaves(own[place])[0].shape[0]
                first = (round_ * self.stages + self.index) * depth
                return self.program.run(tower, own[place], shared, payload, part, first)

            return run

        arrived = jax.tree.map(lambda x: jnp.where(slot.valid, x, 0), arrived)
        if len(self.towers) == 1:
            return of_tower(0)(arrived)
        place = slot.round // self.rounds
        return lax.switch(place, [of_tower(place) for place in range(len(self.towers))], arrived)

    def empty(self, shared: Tree, begun: Payload, part: Tree) -> Payload:
        """A payload of the ring, holding `BUBBLE`; `begun` is what enters its first tower, or its shapes."""
        payload = begun
        for tower in self.towers[1:]:
            payload = payload | jax.eval_shape(partial(self.program.begin, tower), shared, payload, part)
        return jax.tree.map(lambda s: jnp.full(s.shape, BUBBLE, s.dtype), payload)

    def send(self, payload: Payload, step: int = 1) -> Payload:
        """To the next stage of the ring, or back to the one before with step -1."""
        pairs = [(source, (source + step) % self.stages) for source in range(self.stages)]
        return jax.tree.map(lambda x: lax.ppermute(x, STAGE, pairs), payload) if self.stages > 1 else payload

    def _round(self, place: int, round_: jax.Array) -> jax.Array:
        """The round within a tower; in range for the others, whose weights are not used."""
        return jnp.clip(round_ - place * self.rounds, 0, self.rounds - 1)


def ordered_after(tree: Tree, value: jax.Array) -> jax.Array:
    """The value, once the arrays of a tree are there.

    Stages take different branches, and collectives inside them concern other devices than those between
    stages. All devices must come to them in one order, and where no data flows from one to the other nothing
    else says which; a compiler may drop a barrier, but it does not know that nothing is larger than infinity.
    """
    firsts = [leaf.reshape(-1)[0].astype(jnp.float32) for leaf in jax.tree.leaves(tree)]
    impossible = jnp.any(jnp.stack(firsts) > jnp.inf)
    return jnp.where(impossible, jnp.zeros_like(value), value)


def at(parts: Tree, microbatch: jax.Array | int) -> Tree:
    """One microbatch of parts [microbatches, ...]."""
    return jax.tree.map(lambda x: _at(x, microbatch), parts)


def add_at(totals: Tree, index: jax.Array, gradients: Tree) -> Tree:
    """totals[index] += gradients, in the dtype of the totals; in place, within a loop."""
    return jax.tree.map(lambda t, g: _add_at(t, index, g), totals, gradients)


def _add_at(total: jax.Array, index: jax.Array, gradient: jax.Array) -> jax.Array:
    sum_ = _at(total, index) + gradient.astype(total.dtype)
    return sum_[None] if total.shape[0] == 1 else lax.dynamic_update_index_in_dim(total, sum_, index, 0)


def _at(x: jax.Array, index: jax.Array | int) -> jax.Array:
    return x[0] if x.shape[0] == 1 else lax.dynamic_index_in_dim(x, index, 0, keepdims=False)
