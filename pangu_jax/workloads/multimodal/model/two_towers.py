"""Two towers whose embeddings are compared: pictures and texts in one space (CLIP, arXiv 2103.00020; SigLIP,
arXiv 2303.15343)."""

import math
from dataclasses import dataclass
from typing import Literal

import jax
import jax.numpy as jnp

from pangu_jax.models.parameters import Tree
from pangu_jax.models.placement import OneDevice
from pangu_jax.workloads.multimodal.model.text_transformer import TextTransformerConfig
from pangu_jax.workloads.vision.model import classifying, trunk
from pangu_jax.workloads.vision.model.blocks import unit_length
from pangu_jax.workloads.vision.model.pixels import centred
from pangu_jax.workloads.vision.model.plain import PlainForward
from pangu_jax.workloads.vision.model.trunk import TrunkConfig, TrunkForward

Contrast = Literal["clip", "siglip"]
FIRST_SCALE = {"clip": 1 / 0.07, "siglip": 10.0}  # of similarities; learnt as its logarithm
FIRST_BIAS = -10.0  # of siglip's


@dataclass(frozen=True)
class TwoTowers:
    """Shape of a model of two towers.

    Parameters are {"image": {"trunk", "main"}, "text": ..., "join": {"image" [E, D], "text" [E, D],
    "log_scale" [], "bias" []}}: without the projection that a tower does without, and without "bias" for
    "clip".

    Args:
      image: the picture tower, @VisionTransformer() or @HierarchicalTransformer().
      text: the text tower.
      width: of an embedding.
      image_projection: whether the picture's vector is projected; without, it is the embedding.
      text_projection: the same of the text's.
      contrast: the loss that the scale, and for "siglip" the bias, are for.
    """

    image: TrunkConfig
    text: TextTransformerConfig
    width: int = 256
    image_projection: bool = True
    text_projection: bool = True
    contrast: Contrast = "clip"

    def __post_init__(self):
        if self.contrast not in FIRST_SCALE:
            raise ValueError(f"contrast {self.contrast!r} is none of {', '.join(FIRST_SCALE)}")
        for name, own in (("image", self.image_width), ("text", self.text.width)):
            if not getattr(self, f"{name}_projection") and own != self.width:
                raise ValueError(
                    f"{name}_projection = False, and the tower gives {own} numbers instead of {self.width}"
                )

    @property
    def image_width(self) -> int:
        """Of what stands for a picture before its projection."""
        return self.image.feature_widths[-1]

    def init(self, key: jax.Array) -> Tree:
        """Fresh fp32 parameters; a pure function of the key."""
        of_image, of_text, *keys = jax.random.split(key, 4)
        join: Tree = {"log_scale": jnp.float32(math.log(FIRST_SCALE[self.contrast]))}
        if self.contrast == "siglip":
            join["bias"] = jnp.float32(FIRST_BIAS)
        for own, (name, width) in zip(keys, self._projected().items(), strict=False):
            join[name] = jax.random.normal(own, (self.width, width), jnp.float32) * width**-0.5
        return {"image": self.image.init(of_image), "text": self.text.init(of_text), "join": join}

    def axes(self) -> Tree:
        """Logical axes of every parameter, in the structure of `init`."""
        join: Tree = {"log_scale": ()} | ({"bias": ()} if self.contrast == "siglip" else {})
        join |= {name: ("embed", None) for name in self._projected()}
        return {"image": self.image.axes(), "text": self.text.axes(), "join": join}

    def dimensions(self) -> dict[str, int]:
        """Sizes by logical axis that a layout must divide."""
        return self.image.dimensions() | self.text.dimensions()

    def _projected(self) -> dict[str, int]:
        widths = {"image": self.image_width, "text": self.text.width}
        return {name: width for name, width in widths.items() if getattr(self, f"{name}_projection")}


def image_features(config: TwoTowers, params: Tree, pixels_BxSxSxC: jax.Array) -> jax.Array:
    """Unit-length embeddings of pictures, fp32 [B, width], on one device.

    Args:
      config: the shape.
      params: see `TwoTowers`.
      pixels_BxSxSxC: uint8.
    """
    forward = config.image.forward(OneDevice(), "none", jnp.float32)
    pooled_BxD = pooled_pictures(forward, params["image"], centred(pixels_BxSxSxC))
    return joined(params["join"].get("image"), pooled_BxD)


def text_features(config: TwoTowers, params: Tree, tokens_BxT: jax.Array) -> jax.Array:
    """Unit-length embeddings of texts, fp32 [B, width], on one device.

    Args:
      config: the shape.
      params: see `TwoTowers`.
      tokens_BxT: int32, a text's tokens and its end, then 0s.
    """
    forward = config.text.forward(OneDevice(), "none", jnp.float32)
    return joined(params["join"].get("text"), forward.pooled(params["text"], tokens_BxT))


def pooled_pictures(forward: TrunkForward, params: Tree, pixels_BxSxSxC: jax.Array) -> jax.Array:
    """What stands for each picture before its projection, fp32 [B, D]: of a plain transformer as it pools, of
    another trunk the mean of its last features.

    Args:
      forward: of the picture tower.
      params: {"trunk": ..., "main": ...}.
      pixels_BxSxSxC: of `pixels.centred`.
    """
    stream = trunk.whole(forward.config, pixels_BxSxSxC)
    if isinstance(forward, PlainForward):
        _, x_BxTxD = forward.begin(params["trunk"], stream)
        x_BxTxD = forward.run(params["main"], x_BxTxD)
        return classifying.pooled(forward, params["trunk"], x_BxTxD).astype(jnp.float32)
    return jnp.mean(trunk.features(forward, params, stream)[-1].astype(jnp.float32), axis=1)


def joined(projection_ExD: jax.Array | None, pooled_BxD: jax.Array) -> jax.Array:
    """An embedding of unit length, of what stands for a picture or a text."""
    return unit_length(pooled_BxD if projection_ExD is None else pooled_BxD @ projection_ExD.T)
