"""An anchor-free detector's pyramid and heads (CenterNet, arXiv 1904.07850; FCOS, arXiv 1904.01355).

What is coarse is brought back, level by level, to what is fine (FPN, arXiv 1612.03144). On the two finest
levels each place says for every class how likely the middle of a thing is there, and how far away the thing's
four sides are. Small things are looked for on the finest level, others on the next.
"""

import functools
import math
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax

from pangu_jax.models.normalization import LayerNorm, layer_norm
from pangu_jax.models.parameters import Tree, arrays, logical_axes, normal, zeros
from pangu_jax.workloads.vision.model.convolutions import KERNEL, convolve
from pangu_jax.workloads.vision.model.levels import Levels, LevelTrunk, pointwise

HEADS = 2  # levels with a head, the finest
RARE = 0.01  # how likely a thing is thought to be anywhere before anything is learnt
FARTHEST = 6.0  # of a side, as a logarithm of four places


class HeadMaps(NamedTuple):
    """What one level says.

    Attributes:
      logit_BxHxWxC: of the middle of a thing of each class, fp32.
      sides_BxHxWx4: pixels from the middle of a place to left, top, right, bottom, fp32, above 0.
    """

    logit_BxHxWxC: jax.Array
    sides_BxHxWx4: jax.Array


class Detections(NamedTuple):
    """The most likely things of each view, best first.

    Attributes:
      edges_BxKx4: fp32, left, top, right, bottom in pixels of the view.
      score_BxK: from 0 to 1.
      label_BxK: int32, classes.
    """

    edges_BxKx4: jax.Array
    score_BxK: jax.Array
    label_BxK: jax.Array


@dataclass(frozen=True)
class DetectorShape:
    """Sizes of a detector.

    Args:
      trunk: whose levels it is built on.
      classes: how many.
    """

    trunk: LevelTrunk
    classes: int

    @property
    def strides(self) -> tuple[int, ...]:
        """Of the levels with a head."""
        return self.trunk.strides[:HEADS]

    def init(self, key: jax.Array) -> Tree:
        """Fresh fp32 parameters of pyramid and heads."""
        return arrays(Detector(self, nnx.Rngs(params=key)))

    def axes(self) -> Tree:
        """Their logical axes."""
        return _axes(self)

    def forward_flops(self, height: int, width: int) -> float:
        """Of pyramid and heads, a picture."""
        total, widths = 0.0, self.trunk.level_widths
        for level, (stride, own) in enumerate(zip(self.trunk.strides, widths, strict=True)):
            places = (height // stride) * (width // stride)
            total += 2.0 * places * own * (widths[level + 1] / 4 if level + 1 < len(widths) else 0)
            total += 18.0 * places * own**2 * (2 if level < HEADS else 1)
            total += 2.0 * places * own * (self.classes + 4) * (level < HEADS)
        return total


class Detector(nnx.Module):
    """`smooth_LEVEL`, `up_LEVEL` from the level above, and of those with a head `head`, `heat`, `sides`."""

    def __init__(self, shape: DetectorShape, rngs: nnx.Rngs):
        widths = shape.trunk.level_widths
        for level, width in enumerate(widths):
            if level + 1 < len(widths):
                above = widths[level + 1]
                setattr(self, f"up_{level}", normal(rngs, (above, width), (None, None), fan_in=above))
                setattr(self, f"up_{level}_bias", zeros((width,), ("norm",)))
            setattr(self, f"norm_{level}", LayerNorm(width))
            for name in ("smooth", "head") if level < HEADS else ("smooth",):
                kernel = normal(rngs, (3, 3, width, width), KERNEL, fan_in=9 * width, scale=2.0)
                setattr(self, f"{name}_{level}", kernel)
                setattr(self, f"{name}_{level}_bias", zeros((width,), ("norm",)))
            if level < HEADS:
                for name, out in (("heat", shape.classes), ("sides", 4)):
                    kernel = normal(rngs, (width, out), (None, None), fan_in=width, scale=1e-2)
                    setattr(self, f"{name}_{level}", kernel)
                    setattr(self, f"{name}_{level}_bias", zeros((out,), ("norm",)))


@functools.cache
def _axes(shape: DetectorShape) -> Tree:
    return logical_axes(lambda: Detector(shape, nnx.Rngs(0)))


def head_maps(shape: DetectorShape, params: Tree, levels: Levels) -> tuple[HeadMaps, ...]:
    """What each level with a head says, from fine to coarse.

    Args:
      shape: of the detector.
      params: of pyramid and heads.
      levels: of the trunk.
    """
    found: list[HeadMaps] = []
    above = None
    for level in reversed(range(len(levels))):
        x = levels[level]
        if above is not None:
            x += _twice(pointwise(above, params[f"up_{level}"], params[f"up_{level}_bias"]))
        x = layer_norm(x, params[f"norm_{level}"])
        x = jax.nn.relu(convolve(x, params[f"smooth_{level}"], params[f"smooth_{level}_bias"]))
        above = x
        if level < HEADS:
            x = jax.nn.relu(convolve(x, params[f"head_{level}"], params[f"head_{level}_bias"]))
            heat, sides = (
                pointwise(x, params[f"{name}_{level}"], params[f"{name}_{level}_bias"]).astype(jnp.float32)
                for name in ("heat", "sides")
            )
            far = jnp.exp(jnp.clip(sides, -FARTHEST, FARTHEST)) * (4.0 * shape.strides[level])
            found.append(HeadMaps(heat + math.log(RARE / (1 - RARE)), far))
    return tuple(reversed(found))


def _twice(x_BxHxWxC: jax.Array) -> jax.Array:
    """Every place four times."""
    batch, height, width, channels = x_BxHxWxC.shape
    x = jnp.broadcast_to(x_BxHxWxC[:, :, None, :, None], (batch, height, 2, width, 2, channels))
    return x.reshape(batch, 2 * height, 2 * width, channels)


def middles(height: int, width: int, stride: int) -> tuple[jax.Array, jax.Array]:
    """Pixels of the middles of places: y [H, 1] and x [1, W], fp32."""
    y, x = ((jnp.arange(count, dtype=jnp.float32) + 0.5) * stride for count in (height, width))
    return y[:, None], x[None, :]


def edges_of(sides_BxHxWx4: jax.Array, stride: int) -> jax.Array:
    """Boxes that places speak of, [B, H, W, 4]: left, top, right, bottom in pixels."""
    y, x = middles(sides_BxHxWx4.shape[1], sides_BxHxWx4.shape[2], stride)
    left, top, right, bottom = jnp.moveaxis(sides_BxHxWx4, -1, 0)
    return jnp.stack([x - left, y - top, x + right, y + bottom], axis=-1)


def detections(maps: tuple[HeadMaps, ...], strides: tuple[int, ...], most: int) -> Detections:
    """The places that are likelier than their eight neighbours, the likeliest `most` of all levels."""
    edges, scores, labels = [], [], []
    for one, stride in zip(maps, strides, strict=True):
        score = jax.nn.sigmoid(one.logit_BxHxWxC)
        highest = lax.reduce_window(score, -jnp.inf, lax.max, (1, 3, 3, 1), (1, 1, 1, 1), "SAME")
        batch, height, width, classes = score.shape
        peaks = jnp.where(score == highest, score, 0.0).reshape(batch, -1)
        own, place = lax.top_k(peaks, min(most, peaks.shape[1]))
        boxes = edges_of(one.sides_BxHxWx4, stride).reshape(batch, height * width, 4)
        edges.append(jnp.take_along_axis(boxes, (place // classes)[..., None], axis=1))
        scores.append(own)
        labels.append(place % classes)
    score_BxN, edges_BxNx4 = jnp.concatenate(scores, axis=1), jnp.concatenate(edges, axis=1)
    score_BxK, place_BxK = lax.top_k(score_BxN, min(most, score_BxN.shape[1]))
    label_BxK = jnp.take_along_axis(jnp.concatenate(labels, axis=1), place_BxK, axis=1)
    edges_BxKx4 = jnp.take_along_axis(edges_BxNx4, place_BxK[..., None], axis=1)
    return Detections(edges_BxKx4, score_BxK, label_BxK.astype(jnp.int32))
