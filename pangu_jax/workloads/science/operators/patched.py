"""A plain transformer over patches of a field: what a Fourier neural operator is measured beside.

Places enter by sines and cosines of their coordinates, so any grid can be given; but a patch is so many
points, so on another grid it is another length, and what was learnt does not carry over.
"""

import functools
import math
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.typing import DTypeLike

from pangu_jax.models.normalization import LayerNorm, layer_norm
from pangu_jax.models.parameters import Tree, arrays, logical_axes, normal, zeros
from pangu_jax.models.placement import Placement
from pangu_jax.models.stack import Remat, run_layers


@dataclass(frozen=True)
class PatchedConfig:
    """Shape of a transformer over patches.

    Args:
      space: dimensions, 1 to 3.
      channels: of a field.
      patch: points of a patch along each axis; a grid's points are a multiple of it.
      width: of a token.
      hidden: of perceptrons.
      layers: of attention among all patches and a perceptron each.
      heads: of attention.
      waves: wave numbers of the sines and cosines that tell where a patch is.
    """

    space: int = 1
    channels: int = 1
    patch: int = 4
    width: int = 64
    hidden: int = 128
    layers: int = 4
    heads: int = 4
    waves: int = 8

    def __post_init__(self):
        if self.space not in (1, 2, 3):
            raise ValueError(f"space {self.space}: give 1, 2 or 3")
        if min(self.channels, self.patch, self.width, self.hidden, self.layers, self.heads, self.waves) < 1:
            raise ValueError("channels, patch, width, hidden, layers, heads and waves must be at least 1")
        if self.width % self.heads:
            raise ValueError(f"width {self.width} is not divisible by heads {self.heads}")

    def init(self, key: jax.Array) -> Tree:
        """Fresh fp32 parameters; a pure function of the key."""
        return arrays(PatchedOperator(self, nnx.Rngs(params=key)))

    def axes(self) -> Tree:
        """Logical axes of every parameter, in the structure of `init`."""
        return _axes(self)

    def dimensions(self) -> dict[str, int]:
        """Sizes by logical axis that a layout must divide; fields are small, and not split."""
        return {"embed": self.width, "heads": 1, "mlp": 1, "length": 1}

    def flops(self, points: tuple[int, ...]) -> float:
        """Forward FLOPs of products per example on a grid."""
        tokens = math.prod(points) // self.patch**self.space
        layer = tokens * (8 * self.width**2 + 4 * self.width * self.hidden + 4 * tokens * self.width)
        ends = 4 * tokens * self.patch**self.space * self.channels * self.width
        return float(self.layers * layer + ends)

    def forward(
        self, params: Tree, x: jax.Array, placement: Placement, remat: Remat, dtype: DTypeLike
    ) -> jax.Array:
        """A field [B, *points, channels] of another such one, normalised both; fp32.

        Args:
          params: as `init` makes them.
          x: on a regular periodic grid of a multiple of `patch` points.
          placement: the placement points.
          remat: what the backward pass finds of a layer.
          dtype: of products.

        Raises:
          ValueError: the points are no multiple of `patch`.
        """
        points, axes = x.shape[1:-1], self.axes()
        if any(side % self.patch for side in points):
            raise ValueError(f"{points} points are no multiple of patch {self.patch}")
        names = [name for name in axes if name not in ("layers", "norm")]
        ends = placement.weights(
            {name: params[name].astype(dtype) for name in names}, {name: axes[name] for name in names}
        )
        of_a_layer = jax.tree.map(
            lambda leaf: leaf[1:], axes["layers"], is_leaf=lambda leaf: isinstance(leaf, tuple)
        )
        grid = tuple(side // self.patch for side in points)
        x_BxTxD = self._cut(x.astype(dtype), grid) @ ends["read"] + ends["read_bias"]
        x_BxTxD += jnp.asarray(_places(grid, self.waves), dtype) @ ends["place"]

        def layer(x_BxTxD: jax.Array, stored: Tree, index: jax.Array) -> jax.Array:
            del index
            own = placement.weights(jax.tree.map(lambda w: w.astype(dtype), stored), of_a_layer)
            q, k, v = jnp.moveaxis(
                jnp.einsum("btd,dchk->btchk", layer_norm(x_BxTxD, own["attention_norm"]), own["qkv"]), 2, 0
            )
            heads_BxTxHxK = jax.nn.dot_product_attention(q, k, v)
            x_BxTxD += jnp.einsum("bthk,hkd->btd", heads_BxTxHxK, own["out"])
            hidden = layer_norm(x_BxTxD, own["perceptron_norm"]) @ own["up"] + own["up_bias"]
            return x_BxTxD + jax.nn.gelu(hidden) @ own["down"] + own["down_bias"]

        x_BxTxD = run_layers(layer, params["layers"], x_BxTxD, remat=remat, unroll=self.layers)
        y = layer_norm(x_BxTxD, params["norm"]) @ ends["write"] + ends["write_bias"]
        return self._joined(y, grid).astype(jnp.float32)

    def _cut(self, x: jax.Array, grid: tuple[int, ...]) -> jax.Array:
        """[B, *points, C] to the values of patches, [B, T, patch**space * C]."""
        split = x.reshape(x.shape[0], *(size for side in grid for size in (side, self.patch)), x.shape[-1])
        own = range(1, 2 * self.space, 2)
        order = (0, *own, *(axis + 1 for axis in own), 2 * self.space + 1)
        return split.transpose(order).reshape(x.shape[0], math.prod(grid), -1)

    def _joined(self, values: jax.Array, grid: tuple[int, ...]) -> jax.Array:
        """The inverse of `_cut`."""
        space = self.space
        split = values.reshape(values.shape[0], *grid, *(self.patch,) * space, self.channels)
        order = (0, *(axis for n in range(1, space + 1) for axis in (n, n + space)), 2 * space + 1)
        points = (side * self.patch for side in grid)
        return split.transpose(order).reshape(values.shape[0], *points, self.channels)


class PatchedLayers(nnx.Module):
    """Attention and perceptron, stacked over layers."""

    def __init__(self, config: PatchedConfig, rngs: nnx.Rngs):
        count, width, hidden, heads = config.layers, config.width, config.hidden, config.heads
        stacked = ((count, "layers"),)
        each = width // heads
        self.attention_norm = LayerNorm(width, stacked)
        self.qkv = normal(
            rngs, (count, width, 3, heads, each), ("layers", "embed", None, None, "kv"), fan_in=width
        )
        self.out = normal(rngs, (count, heads, each, width), ("layers", None, "kv", "embed"), fan_in=width)
        self.perceptron_norm = LayerNorm(width, stacked)
        self.up = normal(rngs, (count, width, hidden), ("layers", "embed", None), fan_in=width)
        self.up_bias = zeros((count, hidden), ("layers", None))
        self.down = normal(rngs, (count, hidden, width), ("layers", None, "embed"), fan_in=hidden)
        self.down_bias = zeros((count, width), ("layers", "norm"))


class PatchedOperator(nnx.Module):
    """All parameters."""

    def __init__(self, config: PatchedConfig, rngs: nnx.Rngs):
        width, values = config.width, config.patch**config.space * config.channels
        coordinates = 2 * config.waves * config.space
        self.read = normal(rngs, (values, width), ("patch", "embed"), fan_in=values)
        self.read_bias = zeros((width,), ("norm",))
        self.place = normal(rngs, (coordinates, width), (None, "embed"), fan_in=coordinates)
        self.layers = PatchedLayers(config, rngs)
        self.norm = LayerNorm(width)
        self.write = normal(rngs, (width, values), ("embed", "patch"), fan_in=width, scale=0.1)
        self.write_bias = zeros((values,), ("patch",))


@functools.cache
def _places(grid: tuple[int, ...], waves: int) -> np.ndarray:
    """Sines and cosines of the coordinates of each patch's middle, fp32 [T, 2 * waves * space]."""
    middles = np.meshgrid(*((np.arange(side) + 0.5) / side for side in grid), indexing="ij")
    turns = 2 * np.pi * np.stack(middles, -1)[..., None] * np.arange(1, waves + 1)
    return np.concatenate([np.sin(turns), np.cos(turns)], -1).reshape(math.prod(grid), -1).astype(np.float32)


@functools.cache
def _axes(config: PatchedConfig) -> Tree:
    return logical_axes(lambda: PatchedOperator(config, nnx.Rngs(0)))
