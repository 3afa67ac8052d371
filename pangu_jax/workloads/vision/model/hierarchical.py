"""HiViT: a hierarchy of tokens in which a unit of a picture stays together (Zhang et al., arXiv 2205.14949).

Patches become tokens of width d/4, sixteen of a unit; perceptrons alone work on them; four neighbours become
one of d/2, and those one of d, which is a unit: then come attention and perceptrons. As nothing before that
looks beyond its unit, leaving units out is a gather, and what is left out costs nothing.
"""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike

from pangu_jax.models.normalization import LayerNorm, layer_norm
from pangu_jax.models.parameters import Tree, arrays, logical_axes, normal, zeros
from pangu_jax.models.placement import OneDevice, Placement
from pangu_jax.models.stack import Remat
from pangu_jax.workloads.vision.model import blocks
from pangu_jax.workloads.vision.model.trunk import Features, Stream, sine_positions

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
      learned_positions: whether positions are learnt, instead of fixed sines.
      unroll: blocks compiled as one iteration of the loop over them.
    """

    size: int = 224
    unit: int = 16
    channels: int = 3
    d_model: int = 512
    depths: tuple[int, int, int] = (2, 2, 20)
    heads: int = 8
    stem_ratio: float = 3.0
    ratio: float = 4.0
    learned_positions: bool = False
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

    @property
    def feature_widths(self) -> tuple[int, int, int]:
        """Of a unit in each stage: sixteen tokens side by side, four, one."""
        return 4 * self.d_model, 2 * self.d_model, self.d_model

    @property
    def layers(self) -> int:
        """Of the main stage."""
        return self.depths[2]

    def init(self, key: jax.Array) -> Tree:
        """Fresh fp32 parameters, {"trunk": ..., "main": ...}; a pure function of the key."""
        return arrays(Hierarchy(self, nnx.Rngs(params=key)))

    def axes(self) -> Tree:
        """Logical axes of every parameter, in the structure of `init`."""
        return _axes(self)

    def dimensions(self) -> dict[str, int]:
        """Sizes by logical axis that a layout must divide."""
        first, second, main = self.widths
        return {
            "first_embed": first,
            "second_embed": second,
            "main_embed": main,
            "heads": self.heads,
            "first_mlp": int(self.stem_ratio * first),
            "second_mlp": int(self.stem_ratio * second),
            "main_mlp": int(self.ratio * main),
            "main_layers": self.layers,
            "length": 1,  # merging neighbours needs all of a picture's units
        }

    def flops(self, seen: int) -> float:
        """Forward FLOPs of matrix products per picture of which so many units are seen."""
        first, second, main = self.widths
        per_unit = 2 * INNER**2 * self.patch**2 * self.channels * first
        per_unit += 2 * self.depths[0] * INNER**2 * 4 * first * int(self.stem_ratio * first)
        per_unit += 2 * self.depths[1] * 4 * 4 * second * int(self.stem_ratio * second)
        per_unit += 2 * (4 * 4 * first * second + 4 * second * main)
        per_layer = 8 * main**2 + 4 * main * int(self.ratio * main) + 4 * seen * main
        return float(seen * (per_unit + self.layers * per_layer))

    def cut(self, pixels_BxSxSxC: jax.Array) -> jax.Array:
        """A picture's values by unit, [B, U, V]: units row by row, patches row by row in them; of a patch
        row, column, channel."""
        batch, grid, side = pixels_BxSxSxC.shape[0], self.grid, self.patch
        x = pixels_BxSxSxC.reshape(batch, grid, INNER, side, grid, INNER, side, self.channels)
        return x.transpose(0, 1, 4, 2, 5, 3, 6, 7).reshape(batch, self.units, -1)

    def joined(self, values_BxUxV: jax.Array) -> jax.Array:
        """The inverse of `cut`."""
        batch, grid, side = values_BxUxV.shape[0], self.grid, self.patch
        x = values_BxUxV.reshape(batch, grid, grid, INNER, INNER, side, side, self.channels)
        return x.transpose(0, 1, 3, 5, 2, 4, 6, 7).reshape(batch, self.size, self.size, self.channels)

    def forward(self, placement: Placement, remat: Remat, dtype: DTypeLike) -> "HierarchicalForward":
        """A forward pass as a run carries it out."""
        return HierarchicalForward(self, placement, remat, dtype)


class Merge(nnx.Module):
    """Four neighbours to one of twice the width: `norm` and `kernel` [4 narrow, 2 narrow]."""

    def __init__(self, narrow: int, rngs: nnx.Rngs):
        self.norm = LayerNorm(4 * narrow)
        self.kernel = normal(rngs, (4 * narrow, 2 * narrow), (None, "embed"), fan_in=4 * narrow)


class BeforeMain(nnx.Module):
    """What comes before the main stage; blocks of a stage are stacked."""

    def __init__(self, config: HierarchicalConfig, rngs: nnx.Rngs):
        first, second, _ = config.widths
        values = config.patch**2 * config.channels
        self.stem = normal(rngs, (values, first), ("patch", "embed"), fan_in=values)
        self.stem_bias = zeros((first,), ("norm",))
        self.stem_norm = LayerNorm(first)
        self.first, self.second = (
            blocks.PerceptronBlock((2 * depth, "blocks"), width, int(config.stem_ratio * width), rngs)
            for depth, width in zip(config.depths, (first, second), strict=False)
        )
        self.first_merge, self.second_merge = Merge(first, rngs), Merge(second, rngs)
        if config.learned_positions:
            self.positions = normal(rngs, (config.units, config.d_model), (None, "embed"), fan_in=2500)


class MainStage(nnx.Module):
    """The layers of the main stage, stacked."""

    def __init__(self, config: HierarchicalConfig, rngs: nnx.Rngs):
        layers, width = (config.layers, "layers"), config.d_model
        self.attention = blocks.AttentionBlock(layers, width, config.heads, rngs)
        self.perceptron = blocks.PerceptronBlock(layers, width, int(config.ratio * width), rngs)


class Hierarchy(nnx.Module):
    """All parameters."""

    def __init__(self, config: HierarchicalConfig, rngs: nnx.Rngs):
        self.trunk = BeforeMain(config, rngs)
        self.main = MainStage(config, rngs)


@dataclass(frozen=True)
class HierarchicalForward:
    """A forward pass: the configuration, and how this run places, rematerialises and rounds."""

    config: HierarchicalConfig
    placement: Placement = OneDevice()  # noqa: RUF009 - stateless
    remat: Remat = "none"
    dtype: DTypeLike = jnp.float32

    def begin(self, params: Tree, stream: Stream) -> tuple[Features, jax.Array]:
        """See `TrunkForward`. Features are a unit's tokens side by side: 16 of d/4, then 4 of d/2."""
        config, place = self.config, self.placement
        batch, units = stream.places_BxU.shape
        if config.learned_positions:
            table_UxD = self._gathered({"positions": params["positions"]}, ("positions",))["positions"]
        else:
            table_UxD = jnp.asarray(sine_positions(config.grid, config.d_model), self.dtype)
        first = self._stem(params, stream.values_BxUxV.reshape(batch, units * INNER**2, -1))
        first = place.enter(self._perceptrons("first", params, place.begin(first)))
        second = self._merge(params, "first_merge", first.reshape(batch, units, INNER, INNER, -1))
        second = place.enter(self._perceptrons("second", params, place.begin(second)))
        main = self._merge(params, "second_merge", second.reshape(batch, units, INNER // 2, INNER // 2, -1))
        main += table_UxD[stream.places_BxU]
        early = first.reshape(batch, units, -1), second.reshape(batch, units, -1)
        return early, place.begin(main)

    def run(self, layers: Tree, x_BxUxD: jax.Array) -> jax.Array:
        """See `TrunkForward`."""
        logical = self.config.axes()["main"]
        return self._blocks(blocks.LAYER, layers, logical, x_BxUxD)

    def end(self, params: Tree, early: Features, x_BxUxD: jax.Array) -> Features:
        """See `TrunkForward`."""
        del params
        return *early, self.placement.enter(x_BxUxD)

    def _stem(self, params: Tree, x_BxTxP: jax.Array) -> jax.Array:
        names = ("stem", "stem_bias")
        own = self._gathered({name: params[name] for name in names}, names)
        return layer_norm(x_BxTxP.astype(self.dtype) @ own["stem"] + own["stem_bias"], params["stem_norm"])

    def _perceptrons(self, stage: str, params: Tree, x_BxTxD: jax.Array) -> jax.Array:
        kinds = {stage: blocks.perceptron}
        return self._blocks(kinds, params, self.config.axes()["trunk"], x_BxTxD)

    def _merge(self, params: Tree, name: str, x_BxUxIxIxD: jax.Array) -> jax.Array:
        """[B, U, I, I, D] -> [B, U * (I / 2)^2, 2 D]: neighbours in the order (0, 0) (1, 0) (0, 1) (1, 1)."""
        batch, units, inner, _, width = x_BxUxIxIxD.shape
        half = inner // 2
        x = x_BxUxIxIxD.reshape(batch, units, half, 2, half, 2, width).transpose(0, 1, 2, 4, 5, 3, 6)
        x = layer_norm(x.reshape(batch, units * half**2, 4 * width), params[name]["norm"])
        return x @ self._gathered({name: params[name]}, (name,))[name]["kernel"]

    def _blocks(
        self, kinds: Mapping[str, blocks.Block], params: Tree, logical: Tree, x_BxTxD: jax.Array
    ) -> jax.Array:
        return blocks.run_blocks(
            kinds, params, logical, x_BxTxD, self.placement, self.remat, self.dtype, self.config.unroll
        )

    def _gathered(self, params: Tree, names: Sequence[str]) -> Mapping[str, Any]:
        """Parameters outside the blocks, brought to where they are used."""
        logical = {name: self.config.axes()["trunk"][name] for name in names}
        return self.placement.weights(jax.tree.map(lambda w: w.astype(self.dtype), params), logical)


@functools.cache
def _axes(config: HierarchicalConfig) -> Tree:
    return logical_axes(lambda: Hierarchy(config, nnx.Rngs(0)))
