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
from pangu_jax.workloads.multimodal import fitting, shapes, stored_pairs, towers
from pangu_jax.workloads.multimodal.configuring import config_of
from pangu_jax.workloads.multimodal.data import PairData
from pangu_jax.workloads.multimodal.model import contrast as contrasts
from pangu_jax.workloads.multimodal.model.image_text import (
    Contrast,
    ImageTextForward,
    PictureFeatures,
)
from pangu_jax.workloads.multimodal.model.text_transformer import TextTransformerConfig
from pangu_jax.workloads.multimodal.towers import TowerOrigins
from pangu_jax.workloads.shape import Shape

register = partial(gin.external_configurable, module="pangu_jax.workloads.multimodal")
register(TextTransformerConfig, "TextTransformer")


@gin.configurable(module="pangu_jax.workloads.multimodal")
class ImageTextModel(ComparedWorkload):
    """A tower of pictures and one of texts.

    The loss of a pair is `contrast_weight` times its contrast with the whole batch, and `caption_weight`
    times the mean over the caption's tokens of their cross-entropy beside the picture.

    Parameters are {"image": the tower's, "text": the tower's, "join": projections, scale and bias}; a tower
    that is locked is extra state instead.

    Args:
      image: the pictures' tower, @VisionTransformer() or @HierarchicalTransformer(); or @image_tower(), which
        may be another run's.
      text: the texts', @EncoderDecoder(): its encoder reads, its decoder writes; @TextTransformer(), which
        reads; or @text_tower().
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
    # What `config_of` takes of a recipe, and what `from_run` reads besides.
    OF_SHAPE: tuple[str, ...] = (
        "image", "text", "width", "contrast", "caption_weight", "queries", "projected", "blind",
    )  # fmt: skip
    OF_MODEL: tuple[str, ...] = (*OF_SHAPE, "contrast_weight")

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
        self.contrast_weight, self.caption_weight = contrast_weight, caption_weight
        self.config = config_of(image, text, width, contrast, caption_weight, queries, projected, blind)
        self.towers, _ = TowerOrigins.of(image=image, text=text)
        self.data = fitting.with_vocabulary(data, self.towers)
        self._require_fit()
        self.data, self.looks_once = fitting.with_features(self.data, self.towers, self.config)

    def _require_fit(self) -> None:
        fitting.require_size(self.data, self.config.image, self.towers)
        for name in ("contrast_weight", "caption_weight"):
            if getattr(self, name) < 0:
                raise UserError(f"ImageTextModel.{name} = {getattr(self, name)} must not be below 0")

    @staticmethod
    def recipe_dimensions(recipe: Recipe, reference: Reference) -> dict[str, int]:
        """`dimensions`, from a recipe; ValueError where the shape contradicts itself."""
        given = recipe.arguments(reference)
        names = [name for name in ImageTextModel.OF_SHAPE if name in given]
        return config_of(**{name: make(recipe, given[name], reference.scope) for name in names}).dimensions()

    @classmethod
    def from_run(cls, recipe: Recipe, reference: Reference, directory: Path) -> "ImageTextModel":
        """The workload of a finished run, its pairs apart: they need not be there."""
        return cls._of_run(recipe, reference, directory)

    @classmethod
    def with_data(cls, recipe: Recipe, reference: Reference, directory: Path) -> "ImageTextModel":
        """The same with the recipe's pairs, cut into tokens as the run has it; no other run need be there."""
        data = make(recipe, recipe.arguments(reference)["data"], reference.scope)
        return cls._of_run(recipe, reference, directory, data)

    @classmethod
    def _of_run(
        cls, recipe: Recipe, reference: Reference, directory: Path, data: Any = None
    ) -> "ImageTextModel":
        given, made = recipe.arguments(reference), dict[str, Any](towers.opened(directory))
        for name in cls.OF_MODEL:
            if name in given and name not in made:
                made[name] = make(recipe, given[name], reference.scope)
        kept = stored_pairs.opened(directory, getattr(made["image"], "config", made["image"]))
        return cls(data=data.with_vocabulary(kept.vocabulary) if data else kept, **made)

    def given(self) -> Tree:
        """Shapes of the towers that are other runs'."""
        return self.towers.given(self.config)

    def given_axes(self) -> Tree:
        """Their logical axes."""
        axes = self.config.axes()
        return {name: axes[name] for name in self.towers.learnt}

    def restore_given(self, shardings: Tree) -> Tree:
        """Their parameters."""
        return {name: tower.restore(shardings[name]) for name, tower in self.towers.learnt.items()}

    def init(self, key: jax.Array) -> Variables:
        """As `start`, from towers that have learnt nothing."""
        return self.start(key, {})

    def start(self, key: jax.Array, given: Tree) -> Variables:
        """Towers of other runs; all else is fresh, fp32."""
        return self.towers.split({**self.config.init(key), **given})

    def logical_axes(self) -> Variables:
        """Logical axes of every parameter."""
        return self.towers.split(self.config.axes())

    def complete(self, variables: Variables) -> Tree:
        """All parameters {"image", "text", "join"}, what is locked among them."""
        return self.towers.complete(variables)

    def dimensions(self) -> dict[str, int]:
        """What a layout must divide."""
        return self.config.dimensions() | {"text_length": self.data.length}

    def forward(self, run: RunContext) -> ImageTextForward:
        """The forward pass as a run carries it out."""
        return self.config.forward(run.placement, run.remat, run.dtype)

    def seen(self, params: Tree, batch: Batch, run: RunContext) -> PictureFeatures:
        """A batch's pictures, by `complete` parameters: through their tower, or by features that are kept."""
        forward = self.forward(run)
        if "image" in batch:
            return forward.seen(params, batch["image"][:, -1])
        return forward.seen_again(params, batch.get("units"), batch.get("pooled"))

    def rows(
        self, variables: Variables, batch: Batch, keys: jax.Array | None, run: RunContext
    ) -> tuple[Tree, Sums]:
        """Embeddings of pictures and texts; the loss of captions, which each pair has by itself."""
        del keys
        params, forward = self.complete(variables), self.forward(run)
        weight_B = batch["weight"].astype(jnp.float32)
        seen = self.seen(params, batch, run)
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
        """Pictures as uint8 or their features, captions as token ids, and what is known of each pair."""
        shown = fitting.shown(self.data, self.config, self.looks_once)
        numbers = jax.ShapeDtypeStruct((batch_size,), jnp.int32)
        return {
            **{name: one.update(shape=(batch_size, *one.shape)) for name, one in shown.items()},
            "tokens": jax.ShapeDtypeStruct((batch_size, self.data.length), jnp.int32),
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
        """The vocabulary's hash, and that of the checkpoint of a locked tower."""
        return {"vocabulary": self.data.vocabulary.hash, **self.towers.fingerprint()}

    def files(self) -> dict[str, bytes]:
        """The vocabulary, how long a caption may be, and towers of other runs: what `from_run` reads."""
        return {**stored_pairs.files(self.data), **self.towers.file(self.config)}

    def notices(self) -> Sequence[str]:
        """What was left out of the pairs; and whether a locked tower is run in each step all the same."""
        again = "image" in self.towers.locked and not self.looks_once
        return [*self.data.notices(), *([fitting.looked_again(self.data)] if again else [])]

    def tokens_per_step(self, batch_size: int) -> int:
        """Pairs."""
        return batch_size

    def flops_per_step(self, batch_size: int) -> float:
        """Matrix products forward and backward (3x forward), of all pictures with all texts too; forward
        alone of what is locked, and none of a tower whose features are kept."""
        return self.shape().flops(batch_size)

    def shape(self) -> Shape:
        """The model in numbers, for the planner."""
        return shapes.shape_of(self.config, self.data.length, self.towers.locked, self.looks_once)
