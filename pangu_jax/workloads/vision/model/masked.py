"""Masked pixels: the trunk sees some units of a picture, a small decoder paints the rest (He et al., arXiv
2111.06377).

As HiViT has it (arXiv 2205.14949): the features of all three stages, side by side per unit, are what the
decoder gets; where a unit was left out it gets a token that is learnt. The loss is the squared difference of
the units that were left out, each normalised by its own mean and variance or as it is.
"""

import functools
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from pangu_jax.models.normalization import LayerNorm, layer_norm
from pangu_jax.models.parameters import Tree, arrays, logical_axes, normal, zeros
from pangu_jax.workloads.vision.model import blocks, hierarchical
from pangu_jax.workloads.vision.model.hierarchical import INNER, HierarchicalConfig, TrunkForward

EPSILON = 1e-6  # beside the variance of a unit


@dataclass(frozen=True)
class MaskedPixels:
    """What is left out, and the decoder.

    Args:
      ratio: share of units that are left out; int(units * (1 - ratio)) are kept, one at least.
      normalised: whether targets are normalised within each unit: better features, and pictures that need the
        true mean and variance of each unit to be seen.
      width: of the decoder.
      layers: of the decoder.
      heads: of the decoder.
    """

    ratio: float = 0.75
    normalised: bool = True
    width: int = 512
    layers: int = 6
    heads: int = 16

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


class Painter(nnx.Module):
    """All parameters beside the trunk's."""

    def __init__(self, trunk: HierarchicalConfig, objective: MaskedPixels, rngs: nnx.Rngs):
        d, width = trunk.d_model, objective.width
        joined, values = 7 * d, trunk.unit**2 * trunk.channels
        self.norm = LayerNorm(joined)
        self.embed = normal(rngs, (width, joined), ("embed", None), fan_in=joined)
        self.embed_bias = zeros((width,), ("norm",))
        self.mask_token = normal(rngs, (width,), ("norm",), fan_in=2500)  # a standard deviation of .02
        layers = (objective.layers, "layers")
        self.attention = blocks.AttentionBlock(layers, width, objective.heads, rngs)
        self.perceptron = blocks.PerceptronBlock(layers, width, 4 * width, rngs)
        self.last_norm = LayerNorm(width)
        self.paint = normal(rngs, (width, values), ("embed", "patch"), fan_in=width)
        self.paint_bias = zeros((values,), ("patch",))


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


def paint(
    forward: TrunkForward, objective: MaskedPixels, params: Tree, pixels_BxSxSxC: jax.Array, keys_B: jax.Array
) -> Painted:
    """The pictures with units left out by the keys, and painted.

    Args:
      params: {"trunk": of a `Trunk`, "painter": of a `Painter`}.
      pixels_BxSxSxC: about 0, of about unit variance.
      keys_B: one per picture.
    """
    trunk, placement, dtype = forward.config, forward.placement, forward.dtype
    patches_BxUx4x4xP = hierarchical.patches(trunk, pixels_BxSxSxC)
    units, kept = trunk.units, objective.kept(trunk.units)
    order_BxU = shuffled(units, keys_B)
    places_BxK = order_BxU[:, :kept]
    seen = jnp.take_along_axis(patches_BxUx4x4xP, places_BxK[:, :, None, None, None], axis=1)
    features = forward(params["trunk"], seen, places_BxK)

    own, logical = params["painter"], axes(trunk, objective)
    outside = ("embed", "embed_bias", "mask_token", "paint", "paint_bias")
    gathered = placement.weights(
        {name: own[name].astype(dtype) for name in outside}, {name: logical[name] for name in outside}
    )
    joined_BxKxF = layer_norm(jnp.concatenate(features, axis=-1), own["norm"])
    known_BxKxD = joined_BxKxF @ gathered["embed"].T + gathered["embed_bias"]
    # Where each unit is among the shuffled ones: those behind the kept ones get the learnt token.
    where_BxU = jnp.argsort(order_BxU, axis=1)
    left_out_BxU = (where_BxU >= kept).astype(jnp.float32)
    known_BxUxD = jnp.take_along_axis(known_BxKxD, jnp.minimum(where_BxU, kept - 1)[:, :, None], axis=1)
    x_BxUxD = jnp.where(left_out_BxU[:, :, None] > 0, gathered["mask_token"], known_BxUxD)
    x_BxUxD += jnp.asarray(hierarchical.sine_positions(trunk.grid, objective.width), dtype)

    x_BxUxD = blocks.run_blocks(
        blocks.LAYER, own, logical, placement.begin(x_BxUxD), placement, forward.remat, dtype, unroll=1
    )
    painted = layer_norm(x_BxUxD, own["last_norm"]) @ gathered["paint"] + gathered["paint_bias"]
    return Painted(painted.astype(jnp.float32), targets(objective, patches_BxUx4x4xP), left_out_BxU)


def shuffled(units: int, keys_B: jax.Array) -> jax.Array:
    """The units of each picture in random order, int32 [B, U]: the first are kept."""
    return jax.vmap(lambda key: jnp.argsort(jax.random.uniform(key, (units,))))(keys_B)


def mean_painted(
    trunk: HierarchicalConfig, objective: MaskedPixels, pixels_BxSxSxC: jax.Array, keys_B: jax.Array
) -> Painted:
    """What a painter that is no model does: what is left out has the mean colour of what is seen."""
    patches_BxUx4x4xP = hierarchical.patches(trunk, pixels_BxSxSxC)
    where_BxU = jnp.argsort(shuffled(trunk.units, keys_B), axis=1)
    left_out_BxU = (where_BxU >= objective.kept(trunk.units)).astype(jnp.float32)
    colours_BxUxNxC = patches_BxUx4x4xP.reshape(*where_BxU.shape, -1, trunk.channels)
    seen = (1.0 - left_out_BxU)[:, :, None, None]
    share = jnp.sum(seen, 1, keepdims=True) * colours_BxUxNxC.shape[2]
    mean = jnp.sum(colours_BxUxNxC * seen, (1, 2), keepdims=True) / share
    wanted = targets(objective, patches_BxUx4x4xP)
    guess = jnp.zeros_like(wanted)
    if not objective.normalised:  # of a normalised unit the mean is 0 whatever the colour
        guess = jnp.broadcast_to(mean, colours_BxUxNxC.shape).reshape(wanted.shape)
    return Painted(guess, wanted, left_out_BxU)


def targets(objective: MaskedPixels, patches_BxUx4x4xP: jax.Array) -> jax.Array:
    """What is to be painted of each unit, fp32 [B, U, 16 P]: patch after patch."""
    values_BxUxV = patches_BxUx4x4xP.reshape(*patches_BxUx4x4xP.shape[:2], -1).astype(jnp.float32)
    if not objective.normalised:
        return values_BxUxV
    mean, deviation = statistics(values_BxUxV)
    return (values_BxUxV - mean) / deviation


def statistics(values_BxUxV: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Mean and standard deviation of each unit, [B, U, 1]; the variance unbiased, and a little more."""
    mean = jnp.mean(values_BxUxV, axis=-1, keepdims=True)
    return mean, jnp.sqrt(jnp.var(values_BxUxV, axis=-1, keepdims=True, ddof=1) + EPSILON)


def reconstructed(
    trunk: HierarchicalConfig, objective: MaskedPixels, made: Painted, pixels_BxSxSxC: jax.Array
) -> jax.Array:
    """The pictures [B, S, S, C]: what was seen as it is, what was left out as it was painted.

    Painted units of normalised targets are given the mean and variance of the true ones, which nothing that
    was seen tells: their colours are no achievement of the model.
    """
    true_BxUxV = hierarchical.patches(trunk, pixels_BxSxSxC).reshape(made.painted_BxUxV.shape)
    painted = made.painted_BxUxV
    if objective.normalised:
        mean, deviation = statistics(true_BxUxV)
        painted = painted * deviation + mean
    values = jnp.where(made.left_out_BxU[:, :, None] > 0, painted, true_BxUxV)
    return hierarchical.pixels(trunk, values.reshape(*values.shape[:2], INNER, INNER, -1))


def init(trunk: HierarchicalConfig, objective: MaskedPixels, key: jax.Array) -> Tree:
    """Fresh fp32 parameters of trunk and painter, a nested dict."""
    first, second = jax.random.split(key)
    painter = arrays(Painter(trunk, objective, nnx.Rngs(params=second)))
    return {"trunk": hierarchical.init(trunk, first), "painter": painter}


@functools.cache
def axes(trunk: HierarchicalConfig, objective: MaskedPixels) -> Tree:
    """Logical axes of the painter's parameters."""
    return logical_axes(lambda: Painter(trunk, objective, nnx.Rngs(0)))
