"""A Fourier neural operator: fields in, fields out, on any grid (Li et al., arXiv 2010.08895).

A layer multiplies the low modes of a field, each by a matrix of its own, and adds a perceptron's work at
every point (as Tran et al., arXiv 2111.13802, residually). Weights belong to wave numbers and channels, never
to points: what is learnt on one grid runs on another. No coordinates are read, so a field that is shifted
around its period gives the shifted answer.
"""

import functools
import math
from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike

from pangu_jax.models.parameters import Tree, arrays, logical_axes, normal, zeros
from pangu_jax.models.placement import Placement
from pangu_jax.models.stack import Remat, run_layers
from pangu_jax.workloads.science.operators.modes import FieldModes, field, low_modes, mode_shape


@dataclass(frozen=True)
class FourierConfig:
    """Shape of a Fourier neural operator.

    Args:
      space: dimensions, 1 to 3.
      channels: of a field.
      modes: wave numbers that are kept of each axis, 0 among them; of a grid that has fewer, those it has.
      width: channels inside.
      hidden: of the perceptron at every point.
      layers: of both.
    """

    space: int = 1
    channels: int = 1
    modes: int = 16
    width: int = 32
    hidden: int = 64
    layers: int = 4
    any_grid: ClassVar[bool] = True

    def __post_init__(self):
        if self.space not in (1, 2, 3):
            raise ValueError(f"space {self.space}: give 1, 2 or 3")
        if min(self.channels, self.modes, self.width, self.hidden, self.layers) < 1:
            raise ValueError("channels, modes, width, hidden and layers must be at least 1")

    def init(self, key: jax.Array) -> Tree:
        """Fresh fp32 parameters; a pure function of the key."""
        return arrays(FourierOperator(self, nnx.Rngs(params=key)))

    def axes(self) -> Tree:
        """Logical axes of every parameter, in the structure of `init`."""
        return _axes(self)

    def dimensions(self) -> dict[str, int]:
        """Sizes by logical axis that a layout must divide; a field and its modes are not split."""
        return {"embed": self.width, "mlp": 1, "length": 1}

    def flops(self, points: tuple[int, ...]) -> float:
        """Forward FLOPs of products per example on a grid."""
        places, kept = math.prod(points), math.prod(mode_shape(self.space, self.modes))
        one_way, rows = 0.0, places
        for axis in range(self.space - 1, -1, -1):
            last = axis == self.space - 1
            there = mode_shape(self.space, self.modes)[axis]
            one_way += (4 if last else 8) * rows * there * self.width
            rows = rows // points[axis] * there
        layer = 2 * one_way + 8 * kept * self.width**2 + 4 * places * self.width * self.hidden
        return float(self.layers * layer + 4 * places * self.channels * self.width)

    def forward(
        self, params: Tree, x: jax.Array, placement: Placement, remat: Remat, dtype: DTypeLike
    ) -> jax.Array:
        """A field [B, *points, channels] of another such one, normalised both; fp32.

        Args:
          params: as `init` makes them.
          x: on a regular periodic grid of any size.
          placement: the placement points.
          remat: what the backward pass finds of a layer.
          dtype: of products at points. Modes are fp32: a sum over all points in bf16 has no digits left.
        """
        names = ("read", "read_bias", "write", "write_bias")
        axes = self.axes()
        ends = placement.weights(
            {name: params[name].astype(dtype) for name in names}, {name: axes[name] for name in names}
        )
        of_a_layer = jax.tree.map(
            lambda leaf: leaf[1:], axes["layers"], is_leaf=lambda leaf: isinstance(leaf, tuple)
        )

        def layer(x: jax.Array, stored: Tree, index: jax.Array) -> jax.Array:
            del index
            own = dict(placement.weights(stored, of_a_layer))
            mixed = _mixed(low_modes(x.astype(jnp.float32), self.modes), own.pop("modes"))
            own = {name: weight.astype(dtype) for name, weight in own.items()}
            far = field(mixed, x.shape[1:-1]).astype(dtype)
            hidden = jax.nn.gelu(far @ own["up"] + x @ own["up_point"] + own["up_bias"])
            return x + hidden @ own["down"] + own["down_bias"]

        x = x.astype(dtype) @ ends["read"] + ends["read_bias"]
        x = run_layers(layer, params["layers"], x, remat=remat, unroll=self.layers)
        return (x @ ends["write"] + ends["write_bias"]).astype(jnp.float32)


class SpectralLayers(nnx.Module):
    """`modes` [layers, *modes, embed, 2, width], real and imaginary part of each mode's matrix; the
    perceptron.
    """

    def __init__(self, config: FourierConfig, rngs: nnx.Rngs):
        count, width, hidden = config.layers, config.width, config.hidden
        places = math.prod(mode_shape(config.space, config.modes))
        self.modes = normal(
            rngs, (count, places, width, 2, width), ("layers", None, "embed", None, None), fan_in=2 * width
        )
        self.up = normal(rngs, (count, width, hidden), ("layers", "embed", None), fan_in=width)
        self.up_point = normal(rngs, (count, width, hidden), ("layers", "embed", None), fan_in=width)
        self.up_bias = zeros((count, hidden), ("layers", None))
        self.down = normal(rngs, (count, hidden, width), ("layers", None, "embed"), fan_in=hidden, scale=0.1)
        self.down_bias = zeros((count, width), ("layers", "norm"))


class FourierOperator(nnx.Module):
    """All parameters."""

    def __init__(self, config: FourierConfig, rngs: nnx.Rngs):
        width, channels = config.width, config.channels
        self.read = normal(rngs, (channels, width), ("channel", "embed"), fan_in=channels)
        self.read_bias = zeros((width,), ("norm",))
        self.layers = SpectralLayers(config, rngs)
        self.write = normal(rngs, (width, channels), ("embed", "channel"), fan_in=width, scale=0.1)
        self.write_bias = zeros((channels,), ("norm",))


def _mixed(low: FieldModes, weights_PxDx2xE: jax.Array) -> FieldModes:
    """Each mode [B, P, D] by its own complex matrix, as one real product of twice the width."""
    shape = low.real.shape
    real, imaginary = weights_PxDx2xE[:, :, 0], weights_PxDx2xE[:, :, 1]
    matrix = jnp.concatenate(
        [jnp.concatenate([real, imaginary], -1), jnp.concatenate([-imaginary, real], -1)], 1
    )
    both = jnp.concatenate([part.reshape(shape[0], -1, shape[-1]) for part in low], -1)
    made = jnp.einsum("bpd,pde->bpe", both, matrix)
    return FieldModes(*(part.reshape(shape) for part in jnp.split(made, 2, -1)))


@functools.cache
def _axes(config: FourierConfig) -> Tree:
    return logical_axes(lambda: FourierOperator(config, nnx.Rngs(0)))
