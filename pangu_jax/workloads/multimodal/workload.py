"""Pictures and captions under the trainer: two towers told which of a batch belong together, and captions."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import gin
import jax
import jax.numpy as jnp

from pangu_jax.errors import UserError
from pangu_jax.recipes import Recipe, Reference, make
from pangu_jax.workloads import Batch, RunContext, Source, Sums, TrainStream, Tree, Variables
from pangu_jax.workloads.compared import ComparedWorkload
from pangu_jax.workloads.language.model.encoder_decoder import EncoderDecoderConfig
from pangu_jax.workloads.multimodal import shapes, stored_pairs
from pangu_jax.workloads.multimodal.data import PairData
from pangu_jax.workloads.multimodal.model import contrast as contrasts
from pangu_jax.workloads.multimodal.model.image_text import Contrast, ImageTextConfig, ImageTextForward
from pangu_jax.workloads.multimodal.model.language_tower import LanguageTower, without_dropout
from pangu_jax.workloads.multimodal.model.text_transformer import TextTransformerConfig
from pangu_jax.workloads.shape import Shape

register = partial(gin.external_configurable, module="pangu_jax.workloads.multimodal")
register(TextTransformerConfig, "TextTransformer")


@gin.configurable(module="pangu_jax.workloads.multimodal")
class ImageTextModel(ComparedWorkload):
    """A tower of pictures and one of texts.

    The loss of a pair is `contrast_weight` times its contrast with the whole batch, and `caption_weight`
    times the mean over the caption's tokens of their cross-entropy beside the picture.

    Parameters are {"image": the tower's, "text": the tower's, "join": projections, scale and bias}.

    Args:
      image: the pictures' tower, @VisionTransformer() or @HierarchicalTransformer().
      text: the texts', @EncoderDecoder(): its encoder reads, its decoder writes; or @TextTransformer(), which
        reads.
      data: where pairs come from, @pairs().
      width: of embeddings.
      contrast: "clip", "siglip", or "none" where captions alone are learnt.
      contrast_weight: in the loss.
      caption_weight: in the loss; 0 for a model without decoder.
      queries: of attention over a picture's units, what the decoder reads instead of them; 0 for the units.
      projected: whether pictures and texts are projected, each; what a tower gives is the embedding without.
      blind: whether the decoder reads zeros in place of pictures: a control of captions.
    """

    name = "multimodal"
    loss_unit = "nats per pair"
    throughput_unit = "pairs"
    # What `from_run` reads of a recipe.
    OF_MODEL: tuple[str, ...] = (
        "image", "text", "width", "contrast", "contrast_weight", "caption_weight", "queries",
        "projected", "blind",
    )  # fmt: skip

    def __init__(
        self,
        image: Any = gin.REQUIRED,
        text: Any = gin.REQUIRED,
        data: PairData = gin.REQUIRED,
        width: int = 256,
        contrast: Contrast = "clip",
        contrast_weight: float = 1.0,
        caption_weight: float = 0.0,
        queries: int = 0,
        projected: tuple[bool, bool] = (True, True),
        blind: bool = False,
    ):
        self.data = data
        self.contrast_weight, self.caption_weight = contrast_weight, caption_weight
        self.config = _config(image, text, width, contrast, caption_weight, queries, projected, blind)
        self._require_fit()

    def _require_fit(self) -> None:
        data, model = self.data, self.config.image
        if (data.size, data.channels) != (model.size, model.channels):
            raise UserError(
                f"pairs gives pictures of {data.size} pixels and {data.channels} channels, and the pictures' "
                f"tower has size {model.size} and channels {model.channels}: set both alike"
            )
        for name in ("contrast_weight", "caption_weight"):
            if getattr(self, name) < 0:
                raise UserError(f"ImageTextModel.{name} = {getattr(self, name)} must not be below 0")

    @staticmethod
    def recipe_dimensions(recipe: Recipe, reference: Reference) -> dict[str, int]:
        """`dimensions`, from a recipe; ValueError where the shape contradicts itself."""
        given = recipe.arguments(reference)
        made = {
            name: make(recipe, given[name], reference.scope)
            for name in (
                "image",
                "text",
                "width",
                "contrast",
                "caption_weight",
                "queries",
                "projected",
                "blind",
            )
            if name in given
        }
        return _config(**made).dimensions()

    @classmethod
    def from_run(cls, recipe: Recipe, reference: Reference, directory: Path) -> "ImageTextModel":
        """The workload of a finished run, its pairs apart: they need not be there."""
        given = recipe.arguments(reference)
        made: Any = {
            name: make(recipe, given[name], reference.scope) for name in cls.OF_MODEL if name in given
        }
        return cls(data=stored_pairs.opened(directory, made["image"]), **made)

    def init(self, key: jax.Array) -> Variables:
        """Fresh fp32 parameters."""
        return Variables(self.config.init(key))

    def logical_axes(self) -> Variables:
        """Logical axes of every parameter."""
        return Variables(self.config.axes())

    def dimensions(self) -> dict[str, int]:
        """What a layout must divide."""
        return self.config.dimensions() | {"text_length": self.data.length}

    def forward(self, run: RunContext) -> ImageTextForward:
        """The forward pass as a run carries it out."""
        return self.config.forward(run.placement, run.remat, run.dtype)

    def rows(
        self, variables: Variables, batch: Batch, keys: jax.Array | None, run: RunContext
    ) -> tuple[Tree, Sums]:
        """Embeddings of pictures and texts; the loss of captions, which each pair has by itself."""
        del keys
        params, forward = variables.params, self.forward(run)
        weight_B = batch["weight"].astype(jnp.float32)
        seen = forward.seen(params, batch["image"][:, -1])
        rows: dict[str, jax.Array] = {"weight": weight_B}
        if self.config.contrast != "none":
            rows["image"] = forward.image_embedding(params, seen)
            rows["text"] = forward.text_embedding(params, batch["tokens"])
        if not self.caption_weight:
            return rows, Sums(jnp.float32(0), jnp.float32(0), {})
        tokens_BxT = batch["tokens"]
        here_BxT = (tokens_BxT > 0).astype(jnp.float32) * weight_B[:, None]
        mean_BxT = here_BxT / jnp.maximum(jnp.sum(tokens_BxT > 0, axis=1, keepdims=True), 1)
        total, nats_BxT = forward.text.caption_loss(
            params["text"], tokens_BxT, forward.memory(params, seen), mean_BxT
        )
        of_tokens = jnp.sum(nats_BxT * here_BxT), jnp.sum(here_BxT)
        return rows, Sums(self.caption_weight * total, jnp.float32(0), {"caption/nats_per_token": of_tokens})

    def compared(self, variables: Variables, rows: Tree, run: RunContext) -> Sums:
        """The contrast of all pictures with all texts."""
        weight_B = rows["weight"]
        count = jnp.sum(weight_B)
        if self.config.contrast == "none":
            return Sums(jnp.float32(0), count, {})
        join, both = variables.params["join"], (rows["image"], rows["text"], weight_B)
        if self.config.contrast == "clip":
            term = contrasts.clip(*both, join["log_scale"], run.placement)
        else:
            term = contrasts.siglip(*both, join["log_scale"], join["bias"], run.placement)
        summed = jnp.sum(term.loss_B * weight_B)
        pairs = jnp.sum(run.placement.everyone(weight_B))
        metrics = {
            "loss/contrast": (summed, count),
            "contrast/right": (jnp.sum(term.right_B * weight_B), count),
            # A loss at ln(batch) has learnt nothing: the first question of everyone who trains such a model.
            "contrast/log_batch": (jnp.log(jnp.maximum(pairs, 1.0)) * count, count),
            "contrast/log_scale": (join["log_scale"] * count, count),
        }
        return Sums(self.contrast_weight * summed, count, jax.lax.stop_gradient(metrics))

    def batch_shapes(self, batch_size: int) -> dict[str, jax.ShapeDtypeStruct]:
        """Pictures as uint8, captions as token ids, and what is known of each pair."""
        data = self.data
        numbers = jax.ShapeDtypeStruct((batch_size,), jnp.int32)
        sides = (batch_size, 1, data.size, data.size, data.channels)
        return {
            "image": jax.ShapeDtypeStruct(sides, jnp.uint8),
            "tokens": jax.ShapeDtypeStruct((batch_size, data.length), jnp.int32),
            "picture": numbers,
            "text": numbers,
            "weight": jax.ShapeDtypeStruct((batch_size,), jnp.float32),
            "task_id": numbers,
        }

    def train_source(self, batch_size: int, seed: int, shift: int = 0) -> TrainStream:
        """Endless pairs; UserError where captions have ids that the text tower has not."""
        size, rows = self.data.vocabulary.size, self.config.text.vocab_size
        if size > rows:
            raise UserError(
                f"captions are cut into {size} pieces and the text tower's vocab_size is {rows}: raise it to "
                "at least that, in a multiple of Layout.model, or raise pairs.least_count"
            )
        return self.data.train_source(batch_size, seed, shift)

    def validation_sources(self, batch_size: int) -> Mapping[str, Source]:
        """Every pair that is held out, once."""
        return self.data.validation_sources(batch_size)

    def order(self) -> dict[str, str]:
        """The pairs, and the steps that make views."""
        return self.data.order()

    def fingerprint(self) -> dict[str, str]:
        """The vocabulary's hash."""
        return {"vocabulary": self.data.vocabulary.hash}

    def files(self) -> dict[str, bytes]:
        """The vocabulary, and how long a caption may be: what `from_run` reads."""
        return stored_pairs.files(self.data)

    def notices(self) -> Sequence[str]:
        """What was left out of the pairs."""
        return self.data.notices()

    def tokens_per_step(self, batch_size: int) -> int:
        """Pairs."""
        return batch_size

    def flops_per_step(self, batch_size: int) -> float:
        """Matrix products forward and backward (3x forward), of all pictures with all texts too."""
        return self.shape().flops(batch_size)

    def shape(self) -> Shape:
        """The model in numbers, for the planner."""
        return shapes.shape_of(self.config, self.data.length)


def _config(
    image: Any,
    text: Any,
    width: int = 256,
    contrast: Contrast = "clip",
    caption_weight: float = 0.0,
    queries: int = 0,
    projected: tuple[bool, bool] = (True, True),
    blind: bool = False,
) -> ImageTextConfig:
    if isinstance(text, EncoderDecoderConfig):
        text = LanguageTower(without_dropout(text), writes=caption_weight > 0)
    if caption_weight and not text.memory_width:
        raise UserError(
            "ImageTextModel.caption_weight: the text tower has no decoder; give @EncoderDecoder()"
        )
    try:
        queries = queries if caption_weight else 0
        return ImageTextConfig(
            image, text, width, contrast, queries, (bool(projected[0]), bool(projected[1])), blind
        )
    except ValueError as error:
        raise UserError(f"ImageTextModel: {error}") from None
