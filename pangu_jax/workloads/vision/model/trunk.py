"""What a trunk is to what learns by it: pictures cut into units, and features of some of them by stage."""

import functools
from typing import Any, NamedTuple, Protocol

import jax
import numpy as np
from jax.typing import DTypeLike

from pangu_jax.models.parameters import Tree
from pangu_jax.models.placement import Placement
from pangu_jax.models.stack import Remat

Features = tuple[jax.Array, ...]  # of each stage, [B, U, F]: the last is the main stage's


class Stream(NamedTuple):
    """Some units of each picture, on their way through a trunk.

    Attributes:
      values_BxUxV: their pixels, about 0 and of about unit variance.
      places_BxU: int32, which units of a picture they are.
    """

    values_BxUxV: jax.Array
    places_BxU: jax.Array


class TrunkForward(Protocol):
    """A forward pass, whole or in the parts that a pipeline runs one by one."""

    @property
    def config(self) -> "TrunkConfig":
        """The shape."""
        ...

    def begin(self, params: Tree, stream: Stream) -> tuple[Features, jax.Array]:
        """Features of the stages before the main one, whole, and what enters its first layer.

        Args:
          params: those of "trunk".
          stream: what is seen.
        """
        ...

    def run(self, layers: Tree, x_BxUxD: jax.Array) -> jax.Array:
        """Some layers of the main stage, stacked in `layers`."""
        ...

    def end(self, params: Tree, early: Features, x_BxUxD: jax.Array) -> Features:
        """Features of all stages, from those of `begin` and what left the last layer."""
        ...


class TrunkConfig(Protocol):
    """Shape of a trunk."""

    @property
    def size(self) -> int:
        """Pixels of a picture's side."""
        ...

    @property
    def channels(self) -> int:
        """Of a picture."""
        ...

    @property
    def unit(self) -> int:
        """Pixels of a unit's side."""
        ...

    @property
    def grid(self) -> int:
        """Units of a picture's side."""
        ...

    @property
    def units(self) -> int:
        """Of a picture."""
        ...

    @property
    def feature_widths(self) -> tuple[int, ...]:
        """Of the stages' features."""
        ...

    @property
    def layers(self) -> int:
        """Of the main stage."""
        ...

    def init(self, key: jax.Array) -> Tree:
        """Fresh fp32 parameters {"trunk": ..., "main": layers, stacked}."""
        ...

    def axes(self) -> Tree:
        """Their logical axes."""
        ...

    def dimensions(self) -> dict[str, int]:
        """Sizes by logical axis that a layout must divide."""
        ...

    def flops(self, seen: int) -> float:
        """Forward FLOPs of matrix products per picture of which so many units are seen."""
        ...

    def cut(self, pixels_BxSxSxC: jax.Array) -> jax.Array:
        """A picture's values by unit, [B, U, V]: units row by row."""
        ...

    def joined(self, values_BxUxV: jax.Array) -> jax.Array:
        """The inverse of `cut`."""
        ...

    def forward(self, placement: Placement, remat: Remat, dtype: DTypeLike) -> TrunkForward:
        """A forward pass as a run carries it out."""
        ...


def whole(config: TrunkConfig, pixels_BxSxSxC: jax.Array) -> Stream:
    """All units of each picture."""
    values_BxUxV = config.cut(pixels_BxSxSxC)
    places_BxU = jax.numpy.broadcast_to(jax.numpy.arange(config.units), values_BxUxV.shape[:2])
    return Stream(values_BxUxV, places_BxU)


def some(stream: Stream, count: int, keys_B: jax.Array) -> Stream:
    """So many of a stream's units, drawn for each picture by its key."""

    def one(values_UxV: jax.Array, places_U: jax.Array, key: jax.Array) -> Stream:
        drawn_K = jax.random.permutation(key, len(places_U))[:count]
        return Stream(values_UxV[drawn_K], places_U[drawn_K])

    return jax.vmap(one)(*stream, keys_B)


def features(forward: TrunkForward, params: Tree, stream: Stream) -> Features:
    """Features of all stages.

    Args:
      forward: the pass.
      params: {"trunk": ..., "main": ...}; other names are passed over.
      stream: what is seen.
    """
    early, x_BxUxD = forward.begin(params["trunk"], stream)
    return forward.end(params["trunk"], early, forward.run(params["main"], x_BxUxD))


@functools.cache
def sine_positions(grid: int, width: int) -> Any:
    """Fixed positions of a grid, fp32 [grid * grid, width]: half of the width for the column, half for the
    row, sines before cosines (He et al., arXiv 2111.06377)."""
    frequencies = 1.0 / 10_000 ** (np.arange(width // 4) / (width / 4))
    row, column = np.divmod(np.arange(grid * grid), grid)
    angles = [place[:, None] * frequencies for place in (column, row)]
    found = [part for angle in angles for part in (np.sin(angle), np.cos(angle))]
    return np.concatenate(found, axis=1).astype(np.float32)
