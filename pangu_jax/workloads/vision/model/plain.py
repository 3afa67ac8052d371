"""ViT: patches with learnt positions, and attention among all of them (Dosovitskiy et al., arXiv 2010.11929).

The models of timm, transformers, big_vision and MAE are this one; where they differ, `PlainConfig` has a name
for it: where the last norm is, whether the class token has a position, which GELU, which epsilon.
"""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.typing import DTypeLike

from pangu_jax.models.normalization import LayerNorm, layer_norm
from pangu_jax.models.parameters import Tree, arrays, logical_axes, normal, zeros
from pangu_jax.models.placement import OneDevice, Placement
from pangu_jax.models.stack import Remat
from pangu_jax.workloads.vision.model import blocks, pooling
from pangu_jax.workloads.vision.model.pixels import DEVIATION, MEAN
from pangu_jax.workloads.vision.model.pooling import Pooling
from pangu_jax.workloads.vision.model.trunk import Features, Stream

SMALL = 2500  # a fan-in that makes a standard deviation of .02


@dataclass(frozen=True)
class PlainConfig:
    """Shape of a plain vision transformer.

    Args:
      size: pixels of a picture's side; a multiple of `patch`.
      patch: pixels of a patch's side. A patch is a unit.
      channels: of a picture.
      d_model: width.
      layers: attention and a perceptron each.
      heads: of attention.
      ratio: hidden width of the perceptrons, in widths.
      class_token: whether a token that is no patch comes first.
      token_position: whether that token has a learnt position of its own, beside itself.
      pooling: what stands for a picture: the "token", the "mean" of its patches, or "attention" by a learnt
        query.
      norm: whether the last norm is of all "tokens" before pooling, of what was "pooled", or there is "none".
      representation: width of a layer with tanh between pooling and classes; 0 for none.
      classes: of the head; 0 for no head.
      qkv_bias: whether queries, keys and values have a bias.
      tanh: GELU by tanh, as Flax has it, instead of the error function.
      quick: GELU as CLIP has it, by a sigmoid.
      patch_bias: whether the projection of patches has a bias.
      first_norm: whether a norm comes before the first layer, as in CLIP.
      epsilon: of all norms.
      mean: what is taken from pixels between 0 and 1, one for all channels or one each.
      deviation: what they are divided by then.
      unroll: layers compiled as one iteration of the loop over them.
    """

    size: int = 224
    patch: int = 16
    channels: int = 3
    d_model: int = 768
    layers: int = 12
    heads: int = 12
    ratio: float = 4.0
    class_token: bool = True
    token_position: bool = True
    pooling: Pooling = "token"
    norm: Literal["tokens", "pooled", "none"] = "tokens"
    representation: int = 0
    classes: int = 0
    qkv_bias: bool = True
    tanh: bool = False
    quick: bool = False
    patch_bias: bool = True
    first_norm: bool = False
    epsilon: float = 1e-6
    mean: tuple[float, ...] = (MEAN,)
    deviation: tuple[float, ...] = (DEVIATION,)
    unroll: int = 1

    def __post_init__(self):
        if self.patch < 1 or self.size % self.patch or self.size < self.patch:
            raise ValueError(f"size {self.size} is not divisible by patch {self.patch}")
        if self.heads < 1 or self.d_model % self.heads:
            raise ValueError(f"d_model {self.d_model} is not divisible by heads {self.heads}")
        if self.layers < 1:
            raise ValueError(f"layers {self.layers}: give a number from 1 on")
        if self.pooling not in pooling.KINDS:
            raise ValueError(f"pooling {self.pooling!r} is none of {', '.join(pooling.KINDS)}")
        if self.norm not in ("tokens", "pooled", "none"):
            raise ValueError(f"norm {self.norm!r} is none of tokens, pooled, none")
        if self.pooling == "token" and not self.class_token:
            raise ValueError("pooling 'token' needs class_token = True")
        if self.tanh and self.quick:
            raise ValueError("tanh and quick are two kinds of GELU: give one")
        for name in ("mean", "deviation"):
            if len(getattr(self, name)) not in (1, self.channels):
                raise ValueError(f"{name} {getattr(self, name)}: give one number, or one for each channel")
        if min(self.deviation) <= 0:
            raise ValueError(f"deviation {self.deviation}: give numbers above 0")

    @property
    def unit(self) -> int:
        """Pixels of a unit's side: those of a patch."""
        return self.patch

    @property
    def grid(self) -> int:
        """Units of a picture's side."""
        return self.size // self.patch

    @property
    def units(self) -> int:
        """Of a picture."""
        return self.grid**2

    @property
    def hidden(self) -> int:
        """Hidden width of the perceptrons."""
        return round(self.ratio * self.d_model)

    @property
    def feature_widths(self) -> tuple[int]:
        """Of a unit in each stage."""
        return (self.d_model,)

    def init(self, key: jax.Array) -> Tree:
        """Fresh fp32 parameters, {"trunk": ..., "main": ...}; a pure function of the key."""
        return arrays(VisionTransformer(self, nnx.Rngs(params=key)))

    def axes(self) -> Tree:
        """Logical axes of every parameter, in the structure of `init`."""
        return _axes(self)

    def dimensions(self) -> dict[str, int]:
        """Sizes by logical axis that a layout must divide."""
        return {
            "main_embed": self.d_model,
            "heads": self.heads,
            "main_mlp": self.hidden,
            "main_layers": self.layers,
            "length": 1,  # the class token makes lengths that nothing divides
        }

    def flops(self, seen: int) -> float:
        """Forward FLOPs of matrix products per picture of which so many units are seen."""
        width, tokens = self.d_model, seen + self.class_token
        per_layer = tokens * (8 * width**2 + 4 * width * self.hidden + 4 * tokens * width)
        return float(2 * seen * self.patch**2 * self.channels * width + self.layers * per_layer)

    def cut(self, pixels_BxSxSxC: jax.Array) -> jax.Array:
        """A picture's values by patch, [B, U, V]: patches row by row, of a patch row, column, channel.

        Args:
          pixels_BxSxSxC: as `pixels.centred` makes them; here they get `mean` and `deviation`.
        """
        batch, grid, side = pixels_BxSxSxC.shape[0], self.grid, self.patch
        factor, shift = self.change()
        x = pixels_BxSxSxC * factor + shift
        x = x.reshape(batch, grid, side, grid, side, self.channels).transpose(0, 1, 3, 2, 4, 5)
        return x.reshape(batch, self.units, side * side * self.channels)

    def joined(self, values_BxUxV: jax.Array) -> jax.Array:
        """The inverse of `cut`."""
        batch, grid, side = values_BxUxV.shape[0], self.grid, self.patch
        factor, shift = self.change()
        x = values_BxUxV.reshape(batch, grid, grid, side, side, self.channels).transpose(0, 1, 3, 2, 4, 5)
        return (x.reshape(batch, self.size, self.size, self.channels) - shift) / factor

    def forward(self, placement: Placement, remat: Remat, dtype: DTypeLike) -> "PlainForward":
        """A forward pass as a run carries it out."""
        return PlainForward(self, placement, remat, dtype)

    def change(self) -> tuple[np.ndarray, np.ndarray]:
        """From `pixels.centred` to pixels of this model: what is multiplied, and what is added, fp32."""
        mean, deviation = np.asarray(self.mean, np.float32), np.asarray(self.deviation, np.float32)
        return DEVIATION / deviation, (MEAN - mean) / deviation


class Ends(nnx.Module):
    """What comes before the layers and after them."""

    def __init__(self, config: PlainConfig, rngs: nnx.Rngs):
        width, values = config.d_model, config.patch**2 * config.channels
        self.patch = normal(rngs, (values, width), ("patch", "embed"), fan_in=values)
        if config.patch_bias:
            self.patch_bias = zeros((width,), ("norm",))
        self.positions = normal(rngs, (config.units, width), (None, "embed"), fan_in=SMALL)
        if config.class_token:
            self.token = normal(rngs, (width,), ("norm",), fan_in=SMALL)
            if config.token_position:
                self.token_position = normal(rngs, (width,), ("norm",), fan_in=SMALL)
        if config.first_norm:
            self.first_norm = LayerNorm(width)
        if config.norm != "none":
            self.norm = LayerNorm(width)
        if config.pooling == "attention":
            self.pool = pooling.AttentionPool(width, config.heads, config.hidden, rngs)
        last = config.representation or width
        if config.representation:
            self.represent = normal(rngs, (width, last), ("embed", None), fan_in=width)
            self.represent_bias = zeros((last,), ("norm",))
        if config.classes:
            self.head = normal(rngs, (last, config.classes), ("embed", "class"), fan_in=last)
            self.head_bias = zeros((config.classes,), ("class",))


class Layers(nnx.Module):
    """The layers, stacked."""

    def __init__(self, config: PlainConfig, rngs: nnx.Rngs):
        stack, width = (config.layers, "layers"), config.d_model
        self.attention = blocks.AttentionBlock(stack, width, config.heads, rngs, config.qkv_bias)
        self.perceptron = blocks.PerceptronBlock(stack, width, config.hidden, rngs)


class VisionTransformer(nnx.Module):
    """All parameters."""

    def __init__(self, config: PlainConfig, rngs: nnx.Rngs):
        self.trunk = Ends(config, rngs)
        self.main = Layers(config, rngs)


@dataclass(frozen=True)
class PlainForward:
    """A forward pass: the configuration, and how this run places, rematerialises and rounds."""

    config: PlainConfig
    placement: Placement = OneDevice()  # noqa: RUF009 - stateless
    remat: Remat = "none"
    dtype: DTypeLike = jnp.float32

    def begin(self, params: Tree, stream: Stream) -> tuple[Features, jax.Array]:
        """See `TrunkForward`: no features, and tokens [B, U, D], or [B, 1 + U, D] with the class token."""
        x_BxTxD, positions_UxD = self.patches(params, stream.values_BxUxV)
        x_BxTxD += positions_UxD[stream.places_BxU]
        if self.config.class_token:
            token_D = self.token(params)
            first_Bx1xD = jnp.broadcast_to(token_D, (x_BxTxD.shape[0], 1, token_D.shape[0]))
            x_BxTxD = jnp.concatenate([first_Bx1xD, x_BxTxD], axis=1)
        return (), self.entered(params, x_BxTxD)

    def patches(self, params: Tree, values_BxUxV: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Tokens of patches without a position, [B, U, D], and the learnt positions."""
        bias = ("patch_bias",) if self.config.patch_bias else ()
        own = self.gathered(params, ("patch", "positions", *bias))
        x_BxUxD = values_BxUxV.astype(self.dtype) @ own["patch"]
        return x_BxUxD + own["patch_bias"] if bias else x_BxUxD, own["positions"]

    def entered(self, params: Tree, x_BxTxD: jax.Array) -> jax.Array:
        """What the first layer is given of tokens with their positions."""
        if self.config.first_norm:
            x_BxTxD = layer_norm(x_BxTxD, params["first_norm"], self.config.epsilon)
        return self.placement.begin(x_BxTxD)

    def token(self, params: Tree) -> jax.Array:
        """The class token where it enters the first layer, [D]."""
        token_D = params["token"].astype(self.dtype)
        if self.config.token_position:
            token_D += params["token_position"].astype(self.dtype)
        return token_D

    def run(self, layers: Tree, x_BxTxD: jax.Array, seen_Bx1xTxT: jax.Array | None = None) -> jax.Array:
        """See `TrunkForward`; `seen_Bx1xTxT` is true where a token may look, None for everywhere."""
        config, place = self.config, (self.placement, self.remat, self.dtype)
        gelu = blocks.gelu_of(config.tanh, config.quick)
        kinds = {
            "attention": partial(blocks.self_attention, seen_Bx1xTxT=seen_Bx1xTxT, epsilon=config.epsilon),
            "perceptron": partial(blocks.perceptron, activation=gelu, epsilon=config.epsilon),
        }
        return blocks.run_blocks(kinds, layers, config.axes()["main"], x_BxTxD, *place, config.unroll)

    def end(self, params: Tree, early: Features, x_BxTxD: jax.Array) -> Features:
        """See `TrunkForward`: of the units alone, after the last norm where that is of all tokens."""
        x_BxTxD = self.normed("tokens", params, self.placement.enter(x_BxTxD))
        return *early, x_BxTxD[:, int(self.config.class_token) :]

    def normed(self, where: str, params: Tree, x: jax.Array) -> jax.Array:
        """x [..., D] after the last norm, if that is of `where`: "tokens" or what was "pooled"."""
        return layer_norm(x, params["norm"], self.config.epsilon) if self.config.norm == where else x

    def gathered(self, params: Tree, names: Sequence[str]) -> Mapping[str, Any]:
        """Parameters outside the layers, brought to where they are used."""
        logical = {name: self.config.axes()["trunk"][name] for name in names}
        own = jax.tree.map(lambda w: w.astype(self.dtype), {name: params[name] for name in names})
        return self.placement.weights(own, logical)


@functools.cache
def _axes(config: PlainConfig) -> Tree:
    return logical_axes(lambda: VisionTransformer(config, nnx.Rngs(0)))
