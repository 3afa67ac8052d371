"""HiViT: a hierarchy of tokens in which a unit of a picture stays together (Zhang et al., arXiv 2205.14949).

Patches become tokens of width d/4, sixteen of a unit; perceptrons alone work on them; four neighbours become
one of d/2, and those one of d, which is a unit: then come attention and perceptrons. As nothing before that
looks beyond its unit, leaving units out is a gather, and what is left out costs nothing.
"""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.typing import DTypeLike

from pangu_jax.models.normalization import LayerNorm, layer_norm
from pangu_jax.models.parameters import Tree, arrays, logical_axes, normal, zeros
from pangu_jax.models.placement import OneDevice, Placement
from pangu_jax.models.stack import Remat
from pangu_jax.workloads.vision.model import blocks

INNER = 4  # patches of a unit's side


@dataclass(frozen=True)
class HierarchicalConfig:
    """Shape of a hierarchical transformer.

    Args:
      size: pixels of a picture's side; a multiple of `unit`.
      unit: pixels of a unit's side, of which a patch is a quarter.
      channels: of a picture.
      d_model: width of the main stage; the first has a quarter of it, the second half.
      depths: of the three stages. One of the first two is two perceptrons, one of the third attention and a
        perceptron.
      heads: of attention.
      stem_ratio: hidden width of the first stages' perceptrons, in widths.
      ratio: the same of the main stage.
      unroll: layers of the main stage compiled as one iteration of the loop over them.
    """

    size: int = 224
    unit: int = 16
    channels: int = 3
    d_model: int = 512
    depths: tuple[int, int, int] = (2, 2, 20)
    heads: int = 8
    stem_ratio: float = 3.0
    ratio: float = 4.0
    unroll: int = 1

    def __post_init__(self):
        if self.unit % INNER or self.unit < INNER:
            raise ValueError(f"unit {self.unit} must be a multiple of {INNER}: a patch is a quarter of it")
        if self.size % self.unit or self.size < self.unit:
            raise ValueError(f"size {self.size} is not divisible by unit {self.unit}")
        if self.d_model % 4 or self.d_model % self.heads:
            raise ValueError(f"d_model {self.d_model} is not divisible by 4 and by heads {self.heads}")
        if len(self.depths) != 3 or min(self.depths) < 1:
            raise ValueError(f"depths {self.depths}: give three numbers from 1 on")

    @property
    def grid(self) -> int:
        """Units of a picture's side."""
        return self.size // self.unit

    @property
    def units(self) -> int:
        """Of a picture."""
        return self.grid**2

    @property
    def patch(self) -> int:
        """Pixels of a patch's side."""
        return self.unit // INNER

    @property
    def widths(self) -> tuple[int, int, int]:
        """Of the three stages."""
        return self.d_model // 4, self.d_model // 2, self.d_model


class Merge(nnx.Module):
    """Four neighbours to one of twice the width: `norm` and `kernel` [4 narrow, 2 narrow]."""

    def __init__(self, narrow: int, rngs: nnx.Rngs):
        self.norm = LayerNorm(4 * narrow)
        self.kernel = normal(rngs, (4 * narrow, 2 * narrow), (None, "embed"), fan_in=4 * narrow)


class Trunk(nnx.Module):
    """All parameters of the trunk; blocks are stacked."""

    def __init__(self, config: HierarchicalConfig, rngs: nnx.Rngs):
        first, second, main = config.widths
        values = config.patch**2 * config.channels
        self.stem = normal(rngs, (values, first), ("patch", "embed"), fan_in=values)
        self.stem_bias = zeros((first,), ("norm",))
        self.stem_norm = LayerNorm(first)
        perceptrons = [
            blocks.PerceptronBlock((2 * depth, None), width, int(config.stem_ratio * width), rngs)
            for depth, width in zip(config.depths, (first, second), strict=False)
        ]
        self.first, self.second = perceptrons
        self.first_merge, self.second_merge = Merge(first, rngs), Merge(second, rngs)
        layers = (config.depths[2], "layers")
        self.attention = blocks.AttentionBlock(layers, main, config.heads, rngs)
        self.perceptron = blocks.PerceptronBlock(layers, main, int(config.ratio * main), rngs)


class StageFeatures(NamedTuple):
    """What comes out of the three stages, [B, U, ...] of U units each.

    Attributes:
      first_BxUxF: the sixteen tokens of a unit side by side, 16 x d/4.
      second_BxUxF: the four tokens of a unit side by side, 4 x d/2.
      main_BxUxD: a token per unit.
    """

    first_BxUxF: jax.Array
    second_BxUxF: jax.Array
    main_BxUxD: jax.Array


@dataclass(frozen=True)
class TrunkForward:
    """A forward pass: the configuration, and how this run places, rematerialises and rounds."""

    config: HierarchicalConfig
    placement: Placement = OneDevice()  # noqa: RUF009 - stateless
    remat: Remat = "none"
    dtype: DTypeLike = jnp.float32

    def __call__(self, params: Tree, patches_BxUx4x4xP: jax.Array, places_BxU: jax.Array) -> StageFeatures:
        """The features of some units of each picture.

        Args:
          params: of a `Trunk`.
          patches_BxUx4x4xP: as `patches` makes them; all units of a picture, or some.
          places_BxU: int32, which units they are.
        """
        batch, units = patches_BxUx4x4xP.shape[:2]
        table_UxD = jnp.asarray(sine_positions(self.config.grid, self.config.d_model), self.dtype)
        first = self._stem(params, patches_BxUx4x4xP.reshape(batch, units * INNER**2, -1))
        first = self._run({"first": blocks.perceptron}, params, first, 2 * self.config.depths[0])
        second = self._merge(params, "first_merge", first.reshape(batch, units, INNER, INNER, -1))
        second = self._run({"second": blocks.perceptron}, params, second, 2 * self.config.depths[1])
        main = self._merge(params, "second_merge", second.reshape(batch, units, INNER // 2, INNER // 2, -1))
        main += table_UxD[places_BxU]
        main = self._run(blocks.LAYER, params, main, self.config.unroll)
        return StageFeatures(first.reshape(batch, units, -1), second.reshape(batch, units, -1), main)

    def _stem(self, params: Tree, x_BxTxP: jax.Array) -> jax.Array:
        names = ("stem", "stem_bias")
        own = self._gathered({name: params[name] for name in names}, names)
        x_BxTxD = x_BxTxP.astype(self.dtype) @ own["stem"] + own["stem_bias"]
        return self.placement.begin(layer_norm(x_BxTxD, params["stem_norm"]))

    def _merge(self, params: Tree, name: str, x_BxUxIxIxD: jax.Array) -> jax.Array:
        """[B, U, I, I, D] -> [B, U * (I / 2)^2, 2 D]: neighbours in the order (0, 0) (1, 0) (0, 1) (1, 1)."""
        batch, units, inner, _, width = x_BxUxIxIxD.shape
        half = inner // 2
        x = x_BxUxIxIxD.reshape(batch, units, half, 2, half, 2, width).transpose(0, 1, 2, 4, 5, 3, 6)
        x = layer_norm(x.reshape(batch, units * half**2, 4 * width), params[name]["norm"])
        return x @ self._gathered({name: params[name]}, (name,))[name]["kernel"]

    def _run(
        self, kinds: Mapping[str, blocks.Block], params: Tree, x_BxTxD: jax.Array, unroll: int
    ) -> jax.Array:
        return blocks.run_blocks(
            kinds, params, axes(self.config), x_BxTxD, self.placement, self.remat, self.dtype, unroll
        )

    def _gathered(self, params: Tree, names: Sequence[str]) -> Mapping[str, Any]:
        """Parameters outside the blocks, brought to where they are used."""
        logical = {name: axes(self.config)[name] for name in names}
        return self.placement.weights(jax.tree.map(lambda w: w.astype(self.dtype), params), logical)


def patches(config: HierarchicalConfig, pixels_BxSxSxC: jax.Array) -> jax.Array:
    """A picture's values by unit and patch, [B, U, 4, 4, P]: units row by row, patches row by row in them; of
    a patch row, column, channel."""
    batch, grid, inner, side = pixels_BxSxSxC.shape[0], config.grid, INNER, config.patch
    x = pixels_BxSxSxC.reshape(batch, grid, inner, side, grid, inner, side, config.channels)
    x = x.transpose(0, 1, 4, 2, 5, 3, 6, 7)
    return x.reshape(batch, config.units, inner, inner, side * side * config.channels)


def pixels(config: HierarchicalConfig, patches_BxUx4x4xP: jax.Array) -> jax.Array:
    """The inverse of `patches`."""
    batch, grid, inner, side = patches_BxUx4x4xP.shape[0], config.grid, INNER, config.patch
    x = patches_BxUx4x4xP.reshape(batch, grid, grid, inner, inner, side, side, config.channels)
    x = x.transpose(0, 1, 3, 5, 2, 4, 6, 7)
    return x.reshape(batch, config.size, config.size, config.channels)


@functools.cache
def sine_positions(grid: int, width: int) -> np.ndarray:
    """Fixed positions of a grid, fp32 [grid * grid, width]: half of the width for the column, half for the
    row, sines before cosines (He et al., arXiv 2111.06377)."""
    frequencies = 1.0 / 10_000 ** (np.arange(width // 4) / (width / 4))
    row, column = np.divmod(np.arange(grid * grid), grid)
    angles = [place[:, None] * frequencies for place in (column, row)]
    found = [part for angle in angles for part in (np.sin(angle), np.cos(angle))]
    return np.concatenate(found, axis=1).astype(np.float32)


def init(config: HierarchicalConfig, key: jax.Array) -> Tree:
    """Fresh fp32 parameters of the trunk, a nested dict; a pure function of the key."""
    return arrays(Trunk(config, nnx.Rngs(params=key)))


@functools.cache
def axes(config: HierarchicalConfig) -> Tree:
    """Logical axes of every parameter, in the structure of `init`."""
    return logical_axes(lambda: Trunk(config, nnx.Rngs(0)))
