"""Masked pixels: the trunk sees some units of a picture, a small decoder paints the rest (He et al., arXiv
2111.06377).

As HiViT has it (arXiv 2205.14949): the features of all stages, side by side per unit, are what the decoder
gets; where a unit was left out it gets a token that is learnt. The loss is the squared difference of the
units that were left out, each normalised by its own mean and variance or as it is.
"""

import functools
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from pangu_jax.models.normalization import LayerNorm, layer_norm
from pangu_jax.models.parameters import Tree, arrays, logical_axes, normal, zeros
from pangu_jax.workloads.vision.model import blocks
from pangu_jax.workloads.vision.model.objective import Begun, Pass, PictureBatch, PictureObjective, Term
from pangu_jax.workloads.vision.model.pixels import centred
from pangu_jax.workloads.vision.model.trunk import Features, Stream, TrunkConfig, sine_positions

EPSILON = 1e-6  # beside the variance of a unit
OUTSIDE = ("embed", "embed_bias", "mask_token", "paint", "paint_bias")


class Hidden(NamedTuple):
    """What a masked picture keeps from the trunk.

    Attributes:
      values_BxUxV: of all units.
      where_BxU: int32, the place of each unit in the random order: the first ones are seen.
    """

    values_BxUxV: jax.Array
    where_BxU: jax.Array


class Painted(NamedTuple):
    """What the decoder made.

    Attributes:
      painted_BxUxV: values of every unit, as targets have them.
      targets_BxUxV: what they should be.
      left_out_BxU: fp32, 1 for the units that the trunk has not seen.
    """

    painted_BxUxV: jax.Array
    targets_BxUxV: jax.Array
    left_out_BxU: jax.Array

    @property
    def loss_B(self) -> jax.Array:
        """Mean squared difference over the units of each picture that were left out, fp32."""
        squared_BxU = jnp.mean(jnp.square(self.painted_BxUxV - self.targets_BxUxV), axis=-1)
        return jnp.sum(squared_BxU * self.left_out_BxU, 1) / jnp.sum(self.left_out_BxU, 1)


@dataclass(frozen=True)
class MaskedPixels(PictureObjective):
    """What is left out, and the decoder.

    Args:
      weight: in a joint loss.
      ratio: share of units that are left out; int(units * (1 - ratio)) are kept, one at least.
      normalised: whether targets are normalised within each unit: better features, and pictures that need the
        true mean and variance of each unit to be seen.
      width: of the decoder.
      layers: of the decoder.
      heads: of the decoder.
      unroll: layers of the decoder compiled as one iteration of the loop over them.
    """

    name: ClassVar[str] = "masked"
    loss_unit: ClassVar[str] = "squared difference per value"

    ratio: float = 0.75
    normalised: bool = True
    width: int = 512
    layers: int = 6
    heads: int = 16
    unroll: int = 2

    def __post_init__(self):
        if not 0 < self.ratio < 1:
            raise ValueError(f"MaskedPixels.ratio {self.ratio} must be between 0 and 1")
        if self.width % self.heads or self.width % 4:
            raise ValueError(
                f"MaskedPixels.width {self.width} is not divisible by heads {self.heads} and by 4"
            )

    def kept(self, units: int) -> int:
        """Of so many units those that are seen."""
        return max(1, int(units * (1 - self.ratio)))

    def init(self, trunk: TrunkConfig, channels: int, key: jax.Array) -> Tree:
        """Fresh fp32 parameters of the painter."""
        del channels
        return arrays(Painter(trunk, self, nnx.Rngs(params=key)))

    def axes(self, trunk: TrunkConfig, channels: int) -> Tree:
        """Their logical axes."""
        del channels
        return _axes(trunk, self)

    def dimensions(self, trunk: TrunkConfig | None) -> dict[str, int]:
        """Of the painter."""
        del trunk
        return {"masked_embed": self.width, "masked_heads": self.heads, "masked_mlp": 4 * self.width}

    def begin(self, trunk: TrunkConfig, pictures: PictureBatch, task: int = 0) -> Begun:
        """Some units of each plain picture, by its key."""
        del task
        values_BxUxV = trunk.cut(centred(pictures.image_BxVxSxSxC[:, -1]))
        order_BxU = shuffled(trunk.units, pictures.keys_B)
        places_BxK = order_BxU[:, : self.kept(trunk.units)]
        seen_BxKxV = jnp.take_along_axis(values_BxUxV, places_BxK[:, :, None], axis=1)
        return Begun((Stream(seen_BxKxV, places_BxK),), Hidden(values_BxUxV, jnp.argsort(order_BxU, axis=1)))

    def finish(
        self, params: Tree, pictures: PictureBatch, begun: Begun, features: tuple[Features, ...], run: Pass
    ) -> Term:
        """The loss of what is painted."""
        del pictures
        return Term(self.paint(params, begun, features, run).loss_B, {}, {})

    def paint(self, params: Tree, begun: Begun, features: tuple[Features, ...], run: Pass) -> Painted:
        """The pictures, painted from what was seen of them."""
        trunk, placement, dtype = run.forward.config, run.placement, run.dtype
        (seen,), hidden, kept = features, begun.kept, self.kept(trunk.units)
        logical = self.axes(trunk, trunk.channels)
        gathered = placement.weights(
            {name: params[name].astype(dtype) for name in OUTSIDE}, {name: logical[name] for name in OUTSIDE}
        )
        joined_BxKxF = layer_norm(jnp.concatenate(seen, axis=-1), params["norm"])
        known_BxKxD = joined_BxKxF @ gathered["embed"].T + gathered["embed_bias"]
        # Units behind the kept ones get the learnt token.
        where_BxU = hidden.where_BxU
        left_out_BxU = (where_BxU >= kept).astype(jnp.float32)
        known_BxUxD = jnp.take_along_axis(known_BxKxD, jnp.minimum(where_BxU, kept - 1)[:, :, None], axis=1)
        x_BxUxD = jnp.where(left_out_BxU[:, :, None] > 0, gathered["mask_token"], known_BxUxD)
        x_BxUxD += jnp.asarray(sine_positions(trunk.grid, self.width), dtype)
        x_BxUxD = blocks.run_blocks(
            blocks.LAYER, params, logical, placement.begin(x_BxUxD), placement, run.remat, dtype, self.unroll
        )
        x_BxUxD = layer_norm(placement.enter(x_BxUxD), params["last_norm"])
        painted = x_BxUxD @ gathered["paint"] + gathered["paint_bias"]
        return Painted(painted.astype(jnp.float32), self.targets(hidden.values_BxUxV), left_out_BxU)

    def mean_painted(self, trunk: TrunkConfig, begun: Begun) -> Painted:
        """What a painter that is no model does: what is left out has the mean colour of what is seen."""
        values_BxUxV, where_BxU = begun.kept
        left_out_BxU = (where_BxU >= self.kept(trunk.units)).astype(jnp.float32)
        colours_BxUxNxC = values_BxUxV.reshape(*where_BxU.shape, -1, trunk.channels)
        seen = (1.0 - left_out_BxU)[:, :, None, None]
        share = jnp.sum(seen, 1, keepdims=True) * colours_BxUxNxC.shape[2]
        mean = jnp.sum(colours_BxUxNxC * seen, (1, 2), keepdims=True) / share
        wanted = self.targets(values_BxUxV)
        guess = jnp.zeros_like(wanted)
        if not self.normalised:  # of a normalised unit the mean is 0 whatever the colour
            guess = jnp.broadcast_to(mean, colours_BxUxNxC.shape).reshape(wanted.shape)
        return Painted(guess, wanted, left_out_BxU)

    def targets(self, values_BxUxV: jax.Array) -> jax.Array:
        """What is to be painted of each unit, fp32."""
        values_BxUxV = values_BxUxV.astype(jnp.float32)
        if not self.normalised:
            return values_BxUxV
        mean, deviation = statistics(values_BxUxV)
        return (values_BxUxV - mean) / deviation

    def reconstructed(self, trunk: TrunkConfig, made: Painted, begun: Begun) -> jax.Array:
        """The pictures [B, S, S, C]: what was seen as it is, what was left out as it was painted.

        Painted units of normalised targets are given the mean and variance of the true ones, which nothing
        that was seen tells: their colours are no achievement of the model.
        """
        true_BxUxV, painted = begun.kept.values_BxUxV, made.painted_BxUxV
        if self.normalised:
            mean, deviation = statistics(true_BxUxV)
            painted = painted * deviation + mean
        return trunk.joined(jnp.where(made.left_out_BxU[:, :, None] > 0, painted, true_BxUxV))

    def flops(self, trunk: TrunkConfig, size: int, channels: int) -> float:
        """Of the units that are seen, and of the painter."""
        del size
        seen, units, width = self.kept(trunk.units), trunk.units, self.width
        joined = 2 * sum(trunk.feature_widths) * width
        per_painted = self.layers * (24 * width**2 + 4 * units * width) + 2 * width * trunk.unit**2 * channels
        return trunk.flops(seen) + float(seen * joined + units * per_painted)


class Painter(nnx.Module):
    """The decoder's parameters."""

    def __init__(self, trunk: TrunkConfig, objective: MaskedPixels, rngs: nnx.Rngs):
        width, joined = objective.width, sum(trunk.feature_widths)
        values = trunk.unit**2 * trunk.channels
        self.norm = LayerNorm(joined)
        self.embed = normal(rngs, (width, joined), ("embed", None), fan_in=joined)
        self.embed_bias = zeros((width,), ("norm",))
        self.mask_token = normal(rngs, (width,), ("norm",), fan_in=2500)  # a standard deviation of .02
        layers = (objective.layers, "blocks")
        self.attention = blocks.AttentionBlock(layers, width, objective.heads, rngs)
        self.perceptron = blocks.PerceptronBlock(layers, width, 4 * width, rngs)
        self.last_norm = LayerNorm(width)
        self.paint = normal(rngs, (width, values), ("embed", "patch"), fan_in=width)
        self.paint_bias = zeros((values,), ("patch",))


def shuffled(units: int, keys_B: jax.Array) -> jax.Array:
    """The units of each picture in random order, int32 [B, U]: the first are kept."""
    return jax.vmap(lambda key: jnp.argsort(jax.random.uniform(key, (units,))))(keys_B)


def statistics(values_BxUxV: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Mean and standard deviation of each unit, [B, U, 1]; the variance unbiased, and a little more."""
    mean = jnp.mean(values_BxUxV, axis=-1, keepdims=True)
    return mean, jnp.sqrt(jnp.var(values_BxUxV, axis=-1, keepdims=True, ddof=1) + EPSILON)


@functools.cache
def _axes(trunk: TrunkConfig, objective: MaskedPixels) -> Tree:
    return logical_axes(lambda: Painter(trunk, objective, nnx.Rngs(0)))
