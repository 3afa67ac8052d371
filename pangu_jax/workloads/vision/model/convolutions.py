"""The convolutional restorer: a degraded picture in, the picture out, of the same size and of any.

The picture is folded first (space to depth, as FFDNet has it, arXiv 1710.04026): a convolution then sees
`fold` times as far for a part of the work. Each task has a head and a tail of its own (IPT, arXiv
2012.00364); residual blocks without normalisation are shared by all (EDSR, arXiv 1707.02921). What comes out
is added to what went in, at full resolution: only what is missing has to be made.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike

from pangu_jax.models.normalization import LayerNorm, layer_norm
from pangu_jax.models.parameters import Tree, normal, zeros
from pangu_jax.models.stack import run_layers
from pangu_jax.workloads.vision.model import winograd
from pangu_jax.workloads.vision.model.pixels import DEVIATION, centred

KERNEL = (None, None, None, None)  # logical axes: convolutions are small, and whole everywhere


@dataclass(frozen=True)
class RestorerShape:
    """Sizes of a restorer.

    Args:
      tasks: heads and tails.
      channels: of a picture.
      fold: pixels of a side that become one place.
      width: channels of the shared blocks.
      blocks: of two convolutions each.
      unit: pixels of a side of a trunk's unit; 0 without a trunk.
      features: values of a unit that the trunk gives; 0 without one.
    """

    tasks: int
    channels: int
    fold: int
    width: int
    blocks: int
    unit: int = 0
    features: int = 0

    def __post_init__(self):
        if self.unit % self.fold:
            raise ValueError(f"a unit of {self.unit} pixels is not divisible by fold {self.fold}")

    @property
    def reach(self) -> int:
        """Pixels around a square of `fold` that it depends on when restored, where there is no trunk."""
        return self.fold * (2 * self.blocks + 2)


class Restorer(nnx.Module):
    """`head` and `tail` of each task; `first` and `second` of each block; how a trunk is heard."""

    def __init__(self, shape: RestorerShape, rngs: nnx.Rngs):
        width, values = shape.width, shape.channels * shape.fold**2
        inputs = values + 1  # and how strong the degradation is
        self.head = normal(rngs, (shape.tasks, 3, 3, inputs, width), (None, *KERNEL), fan_in=9 * inputs)
        self.head_bias = zeros((shape.tasks, width), (None, "norm"))
        blocks = (shape.blocks, 3, 3, width, width)
        self.first = normal(rngs, blocks, (None, *KERNEL), fan_in=9 * width, scale=2.0)
        self.first_bias = zeros((shape.blocks, width), (None, "norm"))
        self.second = normal(rngs, blocks, (None, *KERNEL), fan_in=9 * width, scale=1 / (2 * shape.blocks))
        self.second_bias = zeros((shape.blocks, width), (None, "norm"))
        self.tail = normal(
            rngs, (shape.tasks, 3, 3, width, values), (None, *KERNEL), fan_in=9 * width, scale=1e-2
        )
        self.tail_bias = zeros((shape.tasks, values), (None, "norm"))
        if shape.features:
            laid_out = (shape.unit // shape.fold) ** 2 * width
            self.norm = LayerNorm(shape.features)
            self.project = normal(
                rngs, (shape.features, laid_out), ("embed", None), fan_in=shape.features, scale=1e-2
            )


def restore(
    shape: RestorerShape,
    params: Tree,
    pixels_BxHxWxC: jax.Array,
    strength_B: jax.Array,
    task: int,
    features_BxUxF: jax.Array | None = None,
    dtype: DTypeLike = jnp.float32,
) -> jax.Array:
    """The restored pictures, fp32 like `pixels_BxHxWxC`, not rounded and not clipped.

    Args:
      params: of a `Restorer`; `project` whole.
      pixels_BxHxWxC: 0 to 255; sides that `fold` divides.
      strength_B: of the degradation, about 0 to 1.
      task: whose head and tail, static.
      features_BxUxF: what a trunk makes of the pictures, units in rows; None without a trunk.
      dtype: of products.
    """
    folded = space_to_depth(centred(pixels_BxHxWxC), shape.fold).astype(dtype)
    strength = jnp.broadcast_to(strength_B.astype(dtype)[:, None, None, None], (*folded.shape[:3], 1))
    x = convolve(jnp.concatenate([folded, strength], -1), params["head"][task], params["head_bias"][task])
    middle = shape.blocks // 2
    x = _blocks(params, x, slice(0, middle))
    if features_BxUxF is not None:
        x += _laid_out(shape, params, features_BxUxF, x)
    x = _blocks(params, x, slice(middle, shape.blocks))
    missing = convolve(jax.nn.relu(x), params["tail"][task], params["tail_bias"][task])
    return pixels_BxHxWxC + 255.0 * DEVIATION * depth_to_space(missing.astype(jnp.float32), shape.fold)


def space_to_depth(x_BxHxWxC: jax.Array, fold: int) -> jax.Array:
    """Squares of `fold` x `fold` pixels as channels, [B, H / fold, W / fold, fold fold C]."""
    batch, height, width, channels = x_BxHxWxC.shape
    x = x_BxHxWxC.reshape(batch, height // fold, fold, width // fold, fold, channels)
    return x.swapaxes(2, 3).reshape(batch, height // fold, width // fold, -1)


def depth_to_space(x_BxHxWxV: jax.Array, fold: int) -> jax.Array:
    """The inverse of `space_to_depth`."""
    batch, height, width, _ = x_BxHxWxV.shape
    x = x_BxHxWxV.reshape(batch, height, width, fold, fold, -1)
    return x.swapaxes(2, 3).reshape(batch, height * fold, width * fold, -1)


def _blocks(params: Tree, x: jax.Array, which: slice) -> jax.Array:
    """x + second(relu(first(x))), block after block."""
    layers = {name: params[name][which] for name in ("first", "first_bias", "second", "second_bias")}
    count = layers["first"].shape[0]
    if not count:
        return x

    def body(x: jax.Array, layer: Tree, index: jax.Array) -> jax.Array:
        del index
        hidden = jax.nn.relu(convolve(x, layer["first"], layer["first_bias"]))
        return x + convolve(hidden, layer["second"], layer["second_bias"])

    return run_layers(body, layers, x, remat="none", unroll=count)


def _laid_out(shape: RestorerShape, params: Tree, features_BxUxF: jax.Array, x: jax.Array) -> jax.Array:
    """What a trunk knows, where its units are, like x [B, H / fold, W / fold, width]."""
    normed = layer_norm(features_BxUxF.astype(x.dtype), params["norm"])
    values = normed @ params["project"].astype(x.dtype)
    batch, height, width, _ = x.shape
    side = shape.unit // shape.fold
    values = values.reshape(batch, height // side, width // side, side, side, shape.width)
    return values.swapaxes(2, 3).reshape(x.shape)


def convolve(x_BxHxWxC: jax.Array, kernel_3x3xCxD: jax.Array, bias_D: jax.Array) -> jax.Array:
    """3 x 3, of the same size, zeros around; in the dtype of x."""
    dtype = x_BxHxWxC.dtype
    return winograd.convolve(x_BxHxWxC, kernel_3x3xCxD.astype(dtype)) + bias_D.astype(dtype)
