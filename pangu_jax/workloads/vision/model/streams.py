"""Streams of one length go through a trunk together: one program and larger products for all of them.

They are put side by side example by example, [B, N, ...] as [B N, ...], so that where the examples of a batch
are split over devices nothing moves.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from pangu_jax.models.parameters import Tree
from pangu_jax.workloads.vision.model import trunk as trunks
from pangu_jax.workloads.vision.model.trunk import Features, Stream


class Together(NamedTuple):
    """Streams of as many units.

    Attributes:
      numbers: which of all streams they are.
      stream: all of them, N times the examples.
      forward: a trunk's pass for so many.
    """

    numbers: tuple[int, ...]
    stream: Stream
    forward: Any

    def apart(self, features: Features) -> dict[int, Features]:
        """Features of each stream by its number."""
        count = len(self.numbers)
        parts = [stage.reshape(-1, count, *stage.shape[1:]) for stage in features]
        return {number: tuple(part[:, place] for part in parts) for place, number in enumerate(self.numbers)}


def together(forward: Any, streams: Sequence[Stream]) -> list[Together]:
    """Streams by how many units they have, in the order of their first ones.

    Args:
      forward: of the trunk, for the examples of one stream.
      streams: of the same examples.
    """
    by_length: dict[int, list[int]] = {}
    for number, stream in enumerate(streams):
        by_length.setdefault(stream.places_BxU.shape[1], []).append(number)
    return [
        Together(tuple(numbers), _joined([streams[n] for n in numbers]), several(forward, len(numbers)))
        for numbers in by_length.values()
    ]


def several(forward: Any, count: int) -> Any:
    """A trunk's pass for so many times the examples."""
    return dataclasses.replace(forward, placement=forward.placement.several(count))


def features_of(forward: Any, params: Tree, streams: Sequence[Stream]) -> list[Features]:
    """Features of each stream."""
    found: dict[int, Features] = {}
    for group in together(forward, streams):
        found |= group.apart(trunks.features(group.forward, params, group.stream))
    return [found[number] for number in range(len(streams))]


def _joined(streams: Sequence[Stream]) -> Stream:
    def side_by_side(*parts: jax.Array) -> jax.Array:
        return jnp.stack(parts, axis=1).reshape(-1, *parts[0].shape[1:])

    return streams[0] if len(streams) == 1 else Stream(*map(side_by_side, *streams))
