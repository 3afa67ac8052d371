"""Features of a picture at several scales: what a detector's pyramid is built on.

A trunk of convolutions that is made for it, or the three stages of HiViT, whose tokens stay together by unit
and are laid out as a map again. The finest level has a place for every 4 pixels or so, the next one for every
twice as many.
"""

import functools
from dataclasses import dataclass
from typing import Protocol

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike

from pangu_jax.models.normalization import LayerNorm, layer_norm
from pangu_jax.models.parameters import Tree, arrays, logical_axes, normal, zeros
from pangu_jax.models.placement import Placement
from pangu_jax.models.stack import Remat, run_layers
from pangu_jax.workloads.vision.model import trunk as trunks
from pangu_jax.workloads.vision.model.convolutions import KERNEL, convolve, space_to_depth
from pangu_jax.workloads.vision.model.hierarchical import INNER, HierarchicalConfig

Levels = tuple[jax.Array, ...]  # from fine to coarse, [B, H / stride, W / stride, width]


class LevelTrunk(Protocol):
    """A trunk as a pyramid sees it."""

    @property
    def channels(self) -> int:
        """Of a picture."""
        ...

    @property
    def strides(self) -> tuple[int, ...]:
        """Pixels of a side that are one place, from fine to coarse; each is twice the one before."""
        ...

    @property
    def level_widths(self) -> tuple[int, ...]:
        """Channels of each level."""
        ...

    def init(self, key: jax.Array) -> Tree:
        """Fresh fp32 parameters."""
        ...

    def axes(self) -> Tree:
        """Their logical axes."""
        ...

    def dimensions(self) -> dict[str, int]:
        """Sizes by logical axis that a layout must divide."""
        ...

    def misfit(self, height: int, width: int) -> str | None:
        """What is wrong with views of this size; None where nothing is."""
        ...

    def forward_flops(self, height: int, width: int) -> float:
        """Of a picture."""
        ...

    def levels(
        self, params: Tree, pixels_BxHxWxC: jax.Array, placement: Placement, remat: Remat, dtype: DTypeLike
    ) -> Levels:
        """Features of `centred` pictures, by all parameters of the trunk."""
        ...


@dataclass(frozen=True)
class ConvolutionalConfig:
    """Shape of a small convolutional trunk: squares of 4 pixels as channels, then residual blocks per level.

    Args:
      channels: of a picture.
      level_widths: of the levels at strides 4, 8, 16, ...
      blocks: of each level, of two 3 x 3 convolutions each.
    """

    channels: int = 3
    level_widths: tuple[int, ...] = (32, 64, 96, 128)
    blocks: tuple[int, ...] = (1, 2, 2, 1)

    def __post_init__(self):
        if len(self.level_widths) < 2 or len(self.level_widths) != len(self.blocks):
            raise ValueError(
                f"level_widths {self.level_widths} and blocks {self.blocks}: give two levels or more, alike"
            )
        if min(*self.level_widths, *self.blocks, self.channels) < 1:
            raise ValueError("level_widths, blocks and channels must be at least 1")

    @property
    def strides(self) -> tuple[int, ...]:
        """See `LevelTrunk`."""
        return tuple(4 * 2**level for level in range(len(self.level_widths)))

    def init(self, key: jax.Array) -> Tree:
        """See `LevelTrunk`: {"trunk": ...}."""
        return {"trunk": arrays(ConvolutionalTrunk(self, nnx.Rngs(params=key)))}

    def axes(self) -> Tree:
        """See `LevelTrunk`."""
        return {"trunk": _axes(self)}

    def dimensions(self) -> dict[str, int]:
        """Nothing is split."""
        return {}

    def misfit(self, height: int, width: int) -> str | None:
        """See `LevelTrunk`: any size will do."""
        del height, width
        return None

    def forward_flops(self, height: int, width: int) -> float:
        """See `LevelTrunk`."""
        total, before = 0.0, 16 * self.channels
        for stride, own, blocks in zip(self.strides, self.level_widths, self.blocks, strict=True):
            into = 9 * before if stride == 4 else 4 * before
            total += 2.0 * (height // stride) * (width // stride) * own * (into + 18 * blocks * own)
            before = own
        return total

    def levels(
        self, params: Tree, pixels_BxHxWxC: jax.Array, placement: Placement, remat: Remat, dtype: DTypeLike
    ) -> Levels:
        """See `LevelTrunk`. Below and to the right are zeros, up to a multiple of the coarsest stride."""
        del placement, remat
        params, coarsest = params["trunk"], self.strides[-1]
        beyond = [(0, -side % coarsest) for side in pixels_BxHxWxC.shape[1:3]]
        x = jnp.pad(pixels_BxHxWxC.astype(dtype), ((0, 0), *beyond, (0, 0)))
        x = convolve(space_to_depth(x, 4), params["stem"], params["stem_bias"])
        found = []
        for level in range(len(self.level_widths)):
            if level:
                x = pointwise(space_to_depth(x, 2), params[f"down_{level}"], params[f"down_{level}_bias"])
            x = _blocks(params[f"blocks_{level}"], x)
            found.append(x)
        return tuple(found)


class ResidualConvolutions(nnx.Module):
    """`first` and `second` [blocks, 3, 3, width, width] with biases, and the `norm` before them."""

    def __init__(self, count: int, width: int, rngs: nnx.Rngs):
        shape = (count, 3, 3, width, width)
        self.norm = LayerNorm(width, ((count, "blocks"),))
        self.first = normal(rngs, shape, ("blocks", *KERNEL), fan_in=9 * width, scale=2.0)
        self.first_bias = zeros((count, width), ("blocks", "norm"))
        self.second = normal(rngs, shape, ("blocks", *KERNEL), fan_in=9 * width, scale=1 / (2 * count))
        self.second_bias = zeros((count, width), ("blocks", "norm"))


class ConvolutionalTrunk(nnx.Module):
    """`stem`; `blocks_LEVEL` of each level, and `down_LEVEL` before all but the first."""

    def __init__(self, config: ConvolutionalConfig, rngs: nnx.Rngs):
        widths, values = config.level_widths, 16 * config.channels
        self.stem = normal(rngs, (3, 3, values, widths[0]), KERNEL, fan_in=9 * values)
        self.stem_bias = zeros((widths[0],), ("norm",))
        for level, (width, count) in enumerate(zip(widths, config.blocks, strict=True)):
            if level:
                before = 4 * widths[level - 1]
                setattr(self, f"down_{level}", normal(rngs, (before, width), (None, None), fan_in=before))
                setattr(self, f"down_{level}_bias", zeros((width,), ("norm",)))
            setattr(self, f"blocks_{level}", ResidualConvolutions(count, width, rngs))


def _blocks(layers: Tree, x: jax.Array) -> jax.Array:
    """x + second(relu(first(norm(x)))), block after block."""

    def body(x: jax.Array, layer: Tree, index: jax.Array) -> jax.Array:
        del index
        hidden = convolve(layer_norm(x, layer["norm"]), layer["first"], layer["first_bias"])
        return x + convolve(jax.nn.relu(hidden), layer["second"], layer["second_bias"])

    return run_layers(body, layers, x, remat="none", unroll=layers["first"].shape[0])


def pointwise(x_BxHxWxC: jax.Array, kernel_CxD: jax.Array, bias_D: jax.Array) -> jax.Array:
    """A linear layer at every place, in the dtype of x."""
    dtype = x_BxHxWxC.dtype
    return x_BxHxWxC @ kernel_CxD.astype(dtype) + bias_D.astype(dtype)


@functools.cache
def _axes(config: ConvolutionalConfig) -> Tree:
    return logical_axes(lambda: ConvolutionalTrunk(config, nnx.Rngs(0)))


@dataclass(frozen=True)
class HierarchicalLevels:
    """The three stages of HiViT as levels of square views: strides of a patch, two, and a unit."""

    config: HierarchicalConfig

    @property
    def channels(self) -> int:
        """See `LevelTrunk`."""
        return self.config.channels

    @property
    def strides(self) -> tuple[int, ...]:
        """See `LevelTrunk`."""
        return tuple(self.config.patch * 2**level for level in range(3))

    @property
    def level_widths(self) -> tuple[int, ...]:
        """See `LevelTrunk`."""
        return self.config.widths

    def init(self, key: jax.Array) -> Tree:
        """See `LevelTrunk`: {"trunk": ..., "main": ...}."""
        return self.config.init(key)

    def axes(self) -> Tree:
        """See `LevelTrunk`."""
        return dict(self.config.axes())

    def dimensions(self) -> dict[str, int]:
        """See `LevelTrunk`."""
        return self.config.dimensions()

    def misfit(self, height: int, width: int) -> str | None:
        """See `LevelTrunk`: positions are those of a square."""
        size = self.config.size
        return None if (height, width) == (size, size) else f"squares of its size, {size} x {size}"

    def forward_flops(self, height: int, width: int) -> float:
        """See `LevelTrunk`."""
        del height, width
        return self.config.flops(self.config.units)

    def levels(
        self, params: Tree, pixels_BxHxWxC: jax.Array, placement: Placement, remat: Remat, dtype: DTypeLike
    ) -> Levels:
        """See `LevelTrunk`."""
        forward = self.config.forward(placement, remat, dtype)
        features = trunks.features(forward, params, trunks.whole(self.config, pixels_BxHxWxC))
        sides = (INNER, INNER // 2, 1)
        return tuple(_map_of(of, self.config.grid, side) for of, side in zip(features, sides, strict=True))


def _map_of(features_BxUxF: jax.Array, grid: int, side: int) -> jax.Array:
    """Tokens of units side by side, `side` x `side` each, as a map [B, grid * side, grid * side, width]."""
    x = features_BxUxF.reshape(len(features_BxUxF), grid, grid, side, side, -1)
    return x.swapaxes(2, 3).reshape(len(x), grid * side, grid * side, -1)
