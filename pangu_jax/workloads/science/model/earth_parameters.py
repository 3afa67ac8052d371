"""Parameters of an Earth-specific transformer, with their logical axes."""

from typing import Any

import jax
from flax import nnx

from pangu_jax.models.normalization import LayerNorm
from pangu_jax.models.parameters import normal, zeros
from pangu_jax.workloads.science.model import earth_bias

SMALL = 2500  # the "fan-in" of what is drawn with a deviation of .02


EarthShape = Any  # an `EarthConfig`, which makes these


class Embedding(nnx.Module):
    """Patches to tokens: `upper` [patch * channels, embed], values by level, latitude, longitude, channel in
    a patch; `surface` likewise; a bias each."""

    def __init__(self, shape: EarthShape, rngs: nnx.Rngs):
        (z, h, w), width = shape.patch, shape.dims[0]
        upper, surface = z * h * w * shape.inputs[0], h * w * shape.inputs[1]
        self.upper = normal(rngs, (upper, width), ("patch", "embed"), fan_in=upper)
        self.upper_bias = zeros((width,), ("norm",))
        self.surface = normal(rngs, (surface, width), ("patch", "embed"), fan_in=surface)
        self.surface_bias = zeros((width,), ("norm",))


class Blocks(nnx.Module):
    """The blocks of a layer, stacked.

    Attention: `norm`, `qkv` [blocks, embed, heads, 3, kv], `out` [blocks, embed, heads, kv] and `earth_bias`
    [blocks, heads, kinds of windows, pairs of level and latitude, differences of longitude]. Perceptron:
    `second_norm`, `up` and `down` [blocks, embed, mlp]. A bias each.
    """

    def __init__(self, shape: EarthShape, layer: int, rngs: nnx.Rngs):
        coarse, depth = layer in (1, 2), shape.depths[layer]
        width, heads, hidden = shape.dims[coarse], shape.heads[coarse], shape.hidden[coarse]
        kinds = shape.grids[layer].kinds if shape.bias == "earth" else 1
        stack, kv = (depth, "blocks"), width // heads
        self.norm, self.second_norm = LayerNorm(width, (stack,)), LayerNorm(width, (stack,))
        self.qkv = normal(
            rngs, (depth, width, heads, 3, kv), ("blocks", "embed", "heads", None, "kv"), fan_in=width
        )
        self.qkv_bias = zeros((depth, heads, 3, kv), ("blocks", "heads", None, "kv"))
        self.out = normal(rngs, (depth, width, heads, kv), ("blocks", "embed", "heads", "kv"), fan_in=width)
        self.out_bias = zeros((depth, width), ("blocks", "norm"))
        table = (depth, heads, kinds, *earth_bias.entries(shape.window))
        self.earth_bias = normal(rngs, table, ("blocks", "heads", None, None, None), fan_in=SMALL)
        self.up = normal(rngs, (depth, width, hidden), ("blocks", "embed", "mlp"), fan_in=width)
        self.up_bias = zeros((depth, hidden), ("blocks", "mlp"))
        self.down = normal(rngs, (depth, width, hidden), ("blocks", "embed", "mlp"), fan_in=hidden)
        self.down_bias = zeros((depth, width), ("blocks", "norm"))


class Down(nnx.Module):
    """2 x 2 tokens to one: `norm` of all four, `kernel` [4 fine, coarse]."""

    def __init__(self, shape: EarthShape, rngs: nnx.Rngs):
        fine, coarse = shape.dims
        self.norm = LayerNorm(4 * fine)
        self.kernel = normal(rngs, (4 * fine, coarse), (None, "embed"), fan_in=4 * fine)


class Up(nnx.Module):
    """One token to 2 x 2: `spread` [4 fine, coarse], `norm`, `mix` [fine, fine]."""

    def __init__(self, shape: EarthShape, rngs: nnx.Rngs):
        fine, coarse = shape.dims
        self.spread = normal(rngs, (coarse, 4 * fine), ("embed", None), fan_in=coarse)
        self.norm = LayerNorm(fine)
        self.mix = normal(rngs, (fine, fine), ("embed", None), fan_in=fine)


class Recovery(nnx.Module):
    """Tokens to patches, both ends of the skip side by side: `upper` [2 fine, patch * channels], `surface`; a
    bias for each variable, or for each value of a patch."""

    def __init__(self, shape: EarthShape, rngs: nnx.Rngs):
        (z, h, w), width = shape.patch, 2 * shape.dims[0]
        self.upper = normal(rngs, (width, z * h * w * shape.upper), (None, "patch"), fan_in=width)
        self.upper_bias = zeros((shape.upper * (z * h * w if shape.patch_bias else 1),), ("channel",))
        self.surface = normal(rngs, (width, h * w * shape.surface), (None, "patch"), fan_in=width)
        self.surface_bias = zeros((shape.surface * (h * w if shape.patch_bias else 1),), ("channel",))


class Earth(nnx.Module):
    """All parameters."""

    def __init__(self, shape: EarthShape, rngs: nnx.Rngs):
        self.embedding = Embedding(shape, rngs)
        self.layer1, self.layer2 = Blocks(shape, 0, rngs), Blocks(shape, 1, rngs)
        self.layer3, self.layer4 = Blocks(shape, 2, rngs), Blocks(shape, 3, rngs)
        self.down, self.up = Down(shape, rngs), Up(shape, rngs)
        self.recovery = Recovery(shape, rngs)

    @classmethod
    def of(cls, shape: EarthShape, key: jax.Array) -> "Earth":
        """Drawn from a key."""
        return cls(shape, nnx.Rngs(params=key))
