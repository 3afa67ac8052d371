"""Pangu-Weather's transformer over the Earth in three dimensions (Bi et al., arXiv 2211.02556).

Patches of levels x latitudes x longitudes, the surface as one more level in front; two resolutions, blocks
with attention in windows, and a bias for every pair of places of a window that depends on its level and
latitude. With its defaults it is Pangu-Weather: 64,220,169 parameters, of which 40,379,904 are biases.
"""

import functools
from dataclasses import dataclass
from typing import Literal

import jax
from jax.typing import DTypeLike

from pangu_jax.models.parameters import Tree, arrays, logical_axes
from pangu_jax.models.placement import Placement
from pangu_jax.models.stack import Remat
from pangu_jax.workloads.science.model.earth_forward import EarthForward
from pangu_jax.workloads.science.model.earth_parameters import Earth
from pangu_jax.workloads.science.model.token_grid import TokenGrid


@dataclass(frozen=True)
class EarthConfig:
    """Shape of an Earth-specific transformer.

    Args:
      levels: of the upper air.
      latitude: rows of the grid, from north to south.
      longitude: columns of the grid.
      upper: variables on levels.
      surface: variables on the surface.
      constants: fields that do not change, such as the land mask; they join the surface.
      patch: levels, latitudes and longitudes of a patch; what a side lacks is filled up with zeros.
      window: levels, latitudes and longitudes of a window, in patches.
      dims: width of the fine resolution and of the coarse one, which has a quarter of the places.
      heads: of both.
      depths: blocks of the four layers: fine, coarse, coarse, fine. Every second one rolls: even numbers.
      ratio: hidden width of perceptrons, in widths.
      norm: "post" normalises what a block adds, as published; "pre" what it reads.
      bias: "earth" has a table for each window of level and latitude; "shared" one for all, as Swin.
      roll: whether every second block shifts its windows by half.
      drop_path: share of a whole batch's examples that the last block's additions are left out of in
        training; it rises from 0 at the first (Huang et al., arXiv 1603.09382).
      height_channel: whether the height of levels is one more upper channel, as in the released weights.
      periodic: whether the last longitude is beside the first; else the grid is a part of the globe.
      surface_last: whether the surface is the level behind the others, not in front.
      centred: whether sides are filled up half before and half after.
      skip_last: whether the first layer's result follows the last layer's where they are joined.
      patch_bias: whether the output has a bias for each value of a patch, as the released weights, not
        for each variable.
      unroll: pairs of blocks compiled as one iteration of the loop over them.
    """

    levels: int = 13
    latitude: int = 721
    longitude: int = 1440
    upper: int = 5
    surface: int = 4
    constants: int = 3
    patch: tuple[int, int, int] = (2, 4, 4)
    window: tuple[int, int, int] = (2, 6, 12)
    dims: tuple[int, int] = (192, 384)
    heads: tuple[int, int] = (6, 12)
    depths: tuple[int, int, int, int] = (2, 6, 6, 2)
    ratio: float = 4.0
    norm: Literal["post", "pre"] = "post"
    bias: Literal["earth", "shared"] = "earth"
    roll: bool = True
    drop_path: float = 0.2
    height_channel: bool = False
    periodic: bool = True
    surface_last: bool = False
    centred: bool = False
    skip_last: bool = False
    patch_bias: bool = False
    unroll: int = 1

    def __post_init__(self):
        if min(self.levels, self.latitude, self.longitude, self.upper, self.surface) < 1:
            raise ValueError("levels, latitude, longitude, upper and surface must be at least 1")
        if len(self.depths) != 4 or any(depth < 2 or depth % 2 for depth in self.depths):
            raise ValueError(
                f"depths {self.depths}: give four even numbers from 2 on: every second block rolls"
            )
        if any(side % 2 for side in self.window) or min(self.window) < 2 or len(self.window) != 3:
            raise ValueError(f"window {self.window}: give three even numbers, a roll is half of one")
        for width, heads in zip(self.dims, self.heads, strict=True):
            if width % heads:
                raise ValueError(f"a width of {width} in dims is not divisible by its {heads} heads")
        if not 0 <= self.drop_path < 1:
            raise ValueError(f"drop_path {self.drop_path} must be from 0 to below 1")
        if self.periodic and self.longitude % (around := 2 * self.patch[2] * self.window[2]):
            raise ValueError(
                f"longitude {self.longitude} is not divisible by {around}, patches x windows x 2: on a globe "
                "no longitude can be added; take another patch or window, or periodic = False for an area"
            )

    @property
    def inputs(self) -> tuple[int, int]:
        """Channels that are read: of a level, and of the surface."""
        return self.upper + self.height_channel, self.surface + self.constants

    @property
    def fine(self) -> TokenGrid:
        """Tokens of the first and the last layer."""
        levels, latitudes, longitudes = (
            -(-size // side) for size, side in zip(self.sides, self.patch, strict=True)
        )
        return TokenGrid(levels + 1, latitudes, longitudes, self.window, self.periodic, self.centred)

    @property
    def coarse(self) -> TokenGrid:
        """Tokens of the two layers between them: 2 x 2 places in one."""
        fine = self.fine
        half = -(-fine.latitudes // 2), -(-fine.longitudes // 2)
        return TokenGrid(fine.levels, *half, self.window, self.periodic, self.centred)

    @property
    def sides(self) -> tuple[int, int, int]:
        """Levels, latitudes and longitudes of the grid."""
        return self.levels, self.latitude, self.longitude

    @property
    def grids(self) -> tuple[TokenGrid, ...]:
        """Of the four layers."""
        return self.fine, self.coarse, self.coarse, self.fine

    @property
    def hidden(self) -> tuple[int, int]:
        """Of perceptrons, fine and coarse."""
        return int(self.ratio * self.dims[0]), int(self.ratio * self.dims[1])

    def rates(self, layer: int) -> tuple[float, ...]:
        """Drop path of a layer's blocks (from 0): the decoder's mirror the encoder's."""
        first, second, third, fourth = self.depths
        total = first + max(second, third)
        rising = [self.drop_path * index / (total - 1) for index in range(total)]
        return tuple(
            (rising[:first], rising[first:][:second], rising[first:][:third], rising[:fourth])[layer]
        )

    def init(self, key: jax.Array) -> Tree:
        """Fresh fp32 parameters; a pure function of the key."""
        return arrays(Earth.of(self, key))

    def axes(self) -> Tree:
        """Logical axes of every parameter, in the structure of `init`."""
        return _axes(self)

    def dimensions(self) -> dict[str, int]:
        """Sizes by logical axis that a layout must divide."""
        return {
            "fine_embed": self.dims[0],
            "coarse_embed": self.dims[1],
            "fine_heads": self.heads[0],
            "coarse_heads": self.heads[1],
            "fine_mlp": self.hidden[0],
            "coarse_mlp": self.hidden[1],
            "longitude": self.longitude,
            "fine_longitude": self.fine.longitudes,
            "coarse_longitude": self.coarse.longitudes,
            "fine_length": self.fine.tokens,
            "coarse_length": self.coarse.tokens,
        }

    def forward(self, placement: Placement, remat: Remat, dtype: DTypeLike) -> EarthForward:
        """A forward pass as a run carries it out."""
        return EarthForward(self, placement, remat, dtype)


@functools.cache
def _axes(config: EarthConfig) -> Tree:
    return logical_axes(lambda: Earth.of(config, jax.random.key(0)))
