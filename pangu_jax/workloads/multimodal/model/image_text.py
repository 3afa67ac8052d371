"""Two towers and what joins them: an embedding for each picture and each text, and captions beside pictures.

Nothing public describes the announced multimodal Pangu. What is here is a chosen formulation: CLIP (arXiv
2103.00020), SigLIP (2303.15343) and CoCa (2205.01917) as losses over one model.
"""

import functools
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike

from pangu_jax.models.normalization import LayerNorm, layer_norm
from pangu_jax.models.parameters import Tree, arrays, logical_axes, normal, zeros
from pangu_jax.models.placement import Placement
from pangu_jax.models.stack import Remat
from pangu_jax.workloads.multimodal.model.attention_queries import AttentionQueries, queried
from pangu_jax.workloads.multimodal.model.contrast import CLIP_LOG_SCALE, SIGLIP_BIAS, SIGLIP_LOG_SCALE
from pangu_jax.workloads.multimodal.model.text_tower import TextTower
from pangu_jax.workloads.vision.model import classifying
from pangu_jax.workloads.vision.model import trunk as trunks
from pangu_jax.workloads.vision.model.blocks import unit_length
from pangu_jax.workloads.vision.model.pixels import centred
from pangu_jax.workloads.vision.model.plain import PlainConfig
from pangu_jax.workloads.vision.model.trunk import TrunkConfig

Contrast = Literal["clip", "siglip", "none"]


class PictureFeatures(NamedTuple):
    """Pictures as they left their tower.

    Attributes:
      units_BxUxF: their units.
      pooled_BxF: what stands for each.

    Of features that were kept, one is None where nothing reads it.
    """

    units_BxUxF: jax.Array | None
    pooled_BxF: jax.Array | None


@dataclass(frozen=True)
class ImageTextConfig:
    """Shape of two towers and what joins them.

    Args:
      image: of the pictures' tower.
      text: of the texts'.
      width: of embeddings.
      contrast: "clip", "siglip", or "none" where captions alone are learnt.
      queries: of attention over a picture's units, what the decoder reads instead of them (CoCa's 256); 0 for
        the units themselves.
      projected: whether pooled pictures and texts are projected to `width`, each; where one is not, its tower
        is as wide.
      blind: whether the decoder reads zeros in place of every picture: the control that learns what captions
        tell of each other.
    """

    image: TrunkConfig
    text: TextTower
    width: int = 256
    contrast: Contrast = "clip"
    queries: int = 0
    projected: tuple[bool, bool] = (True, True)
    blind: bool = False

    def __post_init__(self):
        if self.contrast not in get_args(Contrast):
            raise ValueError(f"contrast {self.contrast!r} is none of {', '.join(get_args(Contrast))}")
        if self.contrast == "none" and not self.text.memory_width:
            raise ValueError("contrast 'none' needs captions: nothing would be learnt")
        if self.width < 1 or self.queries < 0:
            raise ValueError(f"width {self.width} must be at least 1 and queries {self.queries} at least 0")
        for projected, own, which in zip(self.projected, self.widths, ("picture", "text"), strict=True):
            if not projected and own != self.width:
                raise ValueError(f"a {which} is {own} wide and embeddings {self.width}: project it")

    @property
    def widths(self) -> tuple[int, int]:
        """Of a pooled picture and of a pooled text."""
        return self.image.feature_widths[-1], self.text.width

    @property
    def normed(self) -> bool:
        """Whether units get a norm here: the tower has none after its last layer."""
        return not isinstance(self.image, PlainConfig) or self.image.norm == "none"

    @property
    def kept_shapes(self) -> dict[str, tuple[int, ...]]:
        """Of one picture's features, by the names of `ImageTextForward.kept`: those that anything reads."""
        width, found = self.widths[0], {}
        if self.text.memory_width:
            found["units"] = (self.image.units, width)
        if self.contrast != "none":
            found["pooled"] = (width,)
        return found

    def init(self, key: jax.Array) -> Tree:
        """Fresh fp32 parameters {"image", "text", "join"}; a pure function of the key."""
        image, text, join = jax.random.split(key, 3)
        own = arrays(Join(self, nnx.Rngs(params=join)))
        return {"image": self.image.init(image), "text": self.text.init(text), "join": own}

    def axes(self) -> Tree:
        """Logical axes of every parameter."""
        return {"image": self.image.axes(), "text": self.text.axes(), "join": _axes(self)}

    def dimensions(self) -> dict[str, int]:
        """Sizes by logical axis that a layout must divide."""
        return {**self.image.dimensions(), **self.text.dimensions(), "join_embed": self.width}

    def forward(self, placement: Placement, remat: Remat, dtype: DTypeLike) -> "ImageTextForward":
        """A forward pass as a run carries it out."""
        return ImageTextForward(self, placement, remat, dtype)


class Join(nnx.Module):
    """`norm` of units, `image` and `text` [width, F], `memory` [F, D] for the decoder, `log_scale`, `bias`.

    What narrows is stored with its output first, by whose width a layout knows it.
    """

    def __init__(self, config: ImageTextConfig, rngs: nnx.Rngs):
        wide, read = config.widths
        if config.normed:
            self.norm = LayerNorm(wide)
        if config.contrast != "none":
            for name, own, projected in zip(("image", "text"), (wide, read), config.projected, strict=True):
                if projected:
                    setattr(self, name, normal(rngs, (config.width, own), ("embed", None), fan_in=own))
            scale = CLIP_LOG_SCALE if config.contrast == "clip" else SIGLIP_LOG_SCALE
            self.log_scale = nnx.Param(jnp.float32(scale), axes=())
            if config.contrast == "siglip":
                self.bias = nnx.Param(jnp.float32(SIGLIP_BIAS), axes=())
        if memory := config.text.memory_width:
            self.memory = normal(rngs, (memory, wide), ("embed", None), fan_in=wide)
            self.memory_bias = zeros((memory,), ("norm",))
        if config.queries:
            self.queries = AttentionQueries(config.queries, wide, rngs)


@functools.cache
def _axes(config: ImageTextConfig) -> Tree:
    return logical_axes(lambda: Join(config, nnx.Rngs(0)))


@dataclass(frozen=True)
class ImageTextForward:
    """A forward pass: the configuration, and how this run places, rematerialises and rounds."""

    config: ImageTextConfig
    placement: Placement
    remat: Remat
    dtype: DTypeLike

    @property
    def text(self) -> Any:
        """The text tower's."""
        return self.config.text.forward(self.placement, self.remat, self.dtype)

    def seen(self, params: Tree, pixels_BxSxSxC: jax.Array) -> PictureFeatures:
        """Pictures through their tower; values of 0 to 255."""
        return self._seen(params["image"], pixels_BxSxSxC, params["join"].get("norm"))

    def kept(self, image: Tree, pixels_BxSxSxC: jax.Array) -> dict[str, jax.Array]:
        """What `seen_again` needs of pictures, fp32: "units" [B, U, F] where a decoder reads them, "pooled"
        [B, F] where they are compared. Of the parameters it depends on the tower's alone."""
        width = self.config.widths[0]
        plain = {"scale": jnp.ones(width), "bias": jnp.zeros(width)}
        found = self._seen(image, pixels_BxSxSxC, plain)
        both = {"units": found.units_BxUxF, "pooled": found.pooled_BxF}
        return {name: both[name].astype(jnp.float32) for name in self.config.kept_shapes}

    def seen_again(self, params: Tree, units_BxUxF: Any = None, pooled_BxF: Any = None) -> PictureFeatures:
        """As `seen`, by what was kept of pictures: the norm of units, which learns, is put on them here."""
        if self.config.normed:
            norm = params["join"]["norm"]
            units_BxUxF, pooled_BxF = (
                None if x is None else x * norm["scale"] + norm["bias"] for x in (units_BxUxF, pooled_BxF)
            )
        if units_BxUxF is not None:
            units_BxUxF = units_BxUxF.astype(self.dtype)
        return PictureFeatures(units_BxUxF, pooled_BxF)

    def _seen(self, own: Tree, pixels_BxSxSxC: jax.Array, norm: Tree) -> Any:
        config = self.config.image
        forward: Any = config.forward(self.placement, self.remat, self.dtype)
        stream = trunks.whole(config, centred(pixels_BxSxSxC))
        early, x_BxTxD = forward.begin(own["trunk"], stream)
        x_BxTxD = forward.run(own["main"], x_BxTxD)
        units_BxUxF = forward.end(own["trunk"], early, x_BxTxD)[-1]
        if self.config.normed:
            units_BxUxF = layer_norm(units_BxUxF, norm)
        if isinstance(config, PlainConfig) and not self.config.normed:
            return PictureFeatures(units_BxUxF, classifying.pooled(forward, own["trunk"], x_BxTxD))
        return PictureFeatures(units_BxUxF, jnp.mean(units_BxUxF.astype(jnp.float32), axis=1))

    def image_embedding(self, params: Tree, seen: PictureFeatures) -> jax.Array:
        """Of pictures, fp32 [B, width], of unit length."""
        assert seen.pooled_BxF is not None
        return self._embedding(params, "image", seen.pooled_BxF)

    def text_embedding(self, params: Tree, tokens_BxT: jax.Array) -> jax.Array:
        """Of texts, fp32 [B, width], of unit length."""
        return self._embedding(params, "text", self.text.pooled(params["text"], tokens_BxT))

    def memory(self, params: Tree, seen: PictureFeatures) -> jax.Array:
        """What the decoder reads of pictures, [B, U, D]."""
        names = ("queries", "memory") if self.config.queries else ("memory",)
        own = self._gathered(params["join"], names)
        assert seen.units_BxUxF is not None
        x_BxUxF = seen.units_BxUxF.astype(self.dtype)
        if self.config.queries:
            x_BxUxF = queried(own["queries"], x_BxUxF)
        memory_BxUxD = x_BxUxF @ own["memory"].T + params["join"]["memory_bias"].astype(self.dtype)
        return jnp.zeros_like(memory_BxUxD) if self.config.blind else memory_BxUxD

    def _embedding(self, params: Tree, name: str, pooled_BxF: jax.Array) -> jax.Array:
        if name in params["join"]:
            weight = self._gathered(params["join"], (name,))[name]
            pooled_BxF = pooled_BxF.astype(self.dtype) @ weight.T
        return unit_length(pooled_BxF.astype(jnp.float32))

    def _gathered(self, join: Tree, names: tuple[str, ...]) -> Any:
        own = jax.tree.map(lambda w: w.astype(self.dtype), {name: join[name] for name in names})
        return self.placement.weights(own, {name: _axes(self.config)[name] for name in names})
