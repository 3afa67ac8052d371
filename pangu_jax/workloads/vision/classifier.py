"""Classes taught to a trunk: a head on its features, and as much of the trunk as is to learn."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import gin
import jax
import jax.numpy as jnp

from pangu_jax.errors import UserError
from pangu_jax.models.normalization import layer_norm
from pangu_jax.recipes import Recipe, Reference, make
from pangu_jax.workloads import Batch, RunContext, Source, Sums, TrainStream, Tree, Variables, Workload
from pangu_jax.workloads.vision import stored_trunk
from pangu_jax.workloads.vision.bases import FreshTrunk, PretrainedTrunk
from pangu_jax.workloads.vision.data import NoPictures, PictureData
from pangu_jax.workloads.vision.learning import AllWeights, Learning
from pangu_jax.workloads.vision.model import trunk as trunks
from pangu_jax.workloads.vision.model.pixels import centred
from pangu_jax.workloads.vision.model.trunk import Features, TrunkConfig
from pangu_jax.workloads.vision.pooled import Pooling, pooled

HEAD_AXES = {"norm": {"scale": (None,), "bias": (None,)}, "kernel": (None, None), "bias": (None,)}
FILE = "classifier.json"  # beside the run's checkpoints: its classes, and the shape of its trunk


@gin.configurable(module="pangu_jax.workloads.vision")
class PictureClassifier(Workload):
    """A trunk under a classifier: mean of units, LayerNorm, a linear layer (HiViT's tail).

    The layer starts at zero, unless the base has one for these classes.

    Parameters are what learns, and "head". What stays of the trunk is extra state, so that a checkpoint is
    whole without the run that the trunk is from.

    Args:
      base: where the trunk is from, @TrunkOfRun().
      data: labelled pictures, @images(); those without a label do not count.
      learns: of the trunk, @AllWeights(), @HeadOnly() or @LowRank(); @AllWeights() when None.
      stages: of the trunk, the last ones, whose features the head sees.
      label_smoothing: share of the target that goes to all classes alike.
      pooling: "mean" over units, or "none": the head sees all of them side by side.
    """

    name = "vision"
    loss_unit = "nats per picture"
    throughput_unit = "pictures"
    # What `from_run` reads of a recipe.
    OF_MODEL: tuple[str, ...] = ("learns", "stages", "label_smoothing", "pooling")

    def __init__(
        self,
        base: PretrainedTrunk = gin.REQUIRED,
        data: PictureData = gin.REQUIRED,
        learns: Learning | None = None,
        stages: int = 1,
        label_smoothing: float = 0.0,
        pooling: Pooling = "mean",
    ):
        self.base, self.data, self.model = base, data, base.config
        self.learns = learns or AllWeights()
        self.stages, self.label_smoothing, self.pooling = stages, label_smoothing, pooling
        self._require_fit()
        self.classes = self._known_classes()
        if base.classes and base.classes != self.classes:
            raise UserError(
                "the classifier that is tuned further knows other classes than the pictures: name its trunk "
                "alone, by @TrunkOfRun()"
            )

    def _require_fit(self) -> None:
        data, model = self.data, self.model
        if (data.size, data.channels) != (model.size, model.channels):
            raise UserError(
                f"images gives pictures of {data.size} pixels and {data.channels} channels, and the trunk "
                f"has size {model.size} and channels {model.channels}: set images.size and images.mode to it"
            )
        if data.views != 1 or data.plain:
            raise UserError(
                "PictureClassifier learns from one view: leave images.views and plain_augment out"
            )
        if not 0 <= self.label_smoothing < 1:
            raise UserError(f"PictureClassifier.label_smoothing = {self.label_smoothing}: from 0 to below 1")
        if not 1 <= self.stages <= len(model.feature_widths):
            raise UserError(
                f"PictureClassifier.stages = {self.stages}: the trunk has {len(model.feature_widths)}"
            )
        if self.pooling not in ("mean", "none"):
            raise UserError(f"PictureClassifier.pooling = {self.pooling!r}: it is 'mean' or 'none'")

    def _known_classes(self) -> tuple[str, ...]:
        """Names of what is told apart; UserError where the pictures do not say."""
        classes = tuple(self.data.classes)
        if len(classes) < 2:
            found = f"one class, {classes[0]!r}" if classes else "no labels"
            raise UserError(
                f"PictureClassifier: the pictures have {found}, and two classes are needed: give class "
                "folders, or name the column by images.label_field"
            )
        return classes

    @classmethod
    def from_run(cls, recipe: Recipe, reference: Reference, directory: Path) -> "PictureClassifier":
        """The workload of a finished run, by the file that it keeps: base and pictures need not be there."""
        return cls._of_run(recipe, reference, directory, None)

    @classmethod
    def with_data(cls, recipe: Recipe, reference: Reference, directory: Path) -> "PictureClassifier":
        """The same with the recipe's pictures: its base need not be there."""
        data = make(recipe, recipe.arguments(reference)["data"], reference.scope)
        return cls._of_run(recipe, reference, directory, data)

    @classmethod
    def _of_run(
        cls, recipe: Recipe, reference: Reference, directory: Path, data: PictureData | None
    ) -> "PictureClassifier":
        kept = directory / FILE
        try:
            found = json.loads(kept.read_text("utf-8"))
            config, classes = stored_trunk.made(found["trunk"]), tuple(map(str, found["classes"]))
        except (OSError, ValueError, KeyError, TypeError):
            raise UserError(f"{kept} is missing or damaged: run this run's `pangu tune` again") from None
        made: Any = {
            name: make(recipe, value, reference.scope)
            for name, value in recipe.arguments(reference).items()
            if name in cls.OF_MODEL
        }
        data = data or NoPictures(config.size, config.channels, 1, False, classes)
        return cls(base=FreshTrunk(config), data=data, **made)

    def given(self) -> Tree:
        """The shapes of the trunk, and of its head where it has one."""
        shapes = jax.eval_shape(self.model.init, jax.random.key(0))
        return shapes | ({"head": jax.eval_shape(self._fresh_head)} if self.base.classes else {})

    def given_axes(self) -> Tree:
        """Their logical axes."""
        return {**self.model.axes(), **({"head": HEAD_AXES} if self.base.classes else {})}

    def restore_given(self, shardings: Tree) -> Tree:
        """The trunk that the base is, and its head where it has one."""
        return self.base.restore(shardings)

    def init(self, key: jax.Array) -> Variables:
        """As `start`, from a trunk that has learnt nothing."""
        return self.start(key, self.model.init(key))

    def start(self, key: jax.Array, given: Tree) -> Variables:
        """The trunk, split, and its head or a fresh one."""
        learning, frozen = self.learns.split({name: given[name] for name in ("trunk", "main")}, key)
        head = given["head"] if "head" in given else self._fresh_head()
        return Variables({**learning, "head": head}, {"frozen": frozen} if frozen else {})

    def _fresh_head(self) -> Tree:
        seen = 1 if self.pooling == "mean" else self.model.units
        width = seen * sum(self.model.feature_widths[-self.stages :])
        return {
            "norm": {"scale": jnp.ones(width), "bias": jnp.zeros(width)},
            "kernel": jnp.zeros((width, len(self.classes))),
            "bias": jnp.zeros(len(self.classes)),
        }

    def logical_axes(self) -> Variables:
        """Those of the trunk; the head is on every device."""
        learning, frozen = self.learns.axes(self.model)
        return Variables({**learning, "head": HEAD_AXES}, {"frozen": frozen} if frozen else {})

    def dimensions(self) -> dict[str, int]:
        """What a layout must divide."""
        return self.model.dimensions()

    @property
    def trunk_entry(self) -> str:
        """Where a checkpoint has the trunk. UserError where differences are beside it."""
        learning, frozen = self.learns.axes(self.model)
        if learning and frozen:
            raise UserError(
                f"a run tuned by {type(self.learns).__name__} keeps its trunk and differences apart: tune "
                "the run that it is from"
            )
        return "extra/frozen" if frozen else "params"

    def complete(self, variables: Variables) -> Tree:
        """The trunk {"trunk", "main"} as it is used, beside the head."""
        trunk = self.learns.merged(variables.params, variables.extra.get("frozen", {}))
        return {"trunk": trunk["trunk"], "main": trunk["main"], "head": variables.params["head"]}

    def features(self, params: Tree, pixels_BxSxSxC: jax.Array, run: RunContext) -> Features:
        """Features of all stages of whole pictures, values of 0 to 255, by `complete` parameters."""
        return self._features(self.model, params, pixels_BxSxSxC, run)

    def logits(self, variables: Variables, pixels_BxSxSxC: jax.Array, run: RunContext) -> jax.Array:
        """fp32 [B, classes], of pictures with values of 0 to 255."""
        return self.answers(self.model, self.complete(variables), pixels_BxSxSxC, run)[0]

    def answers(
        self, model: TrunkConfig, params: Tree, pixels_BxSxSxC: jax.Array, run: RunContext
    ) -> tuple[jax.Array, jax.Array]:
        """Logits, fp32 [B, classes], and the normalised features that the head reads, fp32 [B, F].

        Args:
          model: the trunk's shape.
          params: {"trunk", "main", "head"} of that shape.
          pixels_BxSxSxC: values of 0 to 255.
          run: how a forward pass is carried out.
        """
        head = params["head"]
        features = self._features(model, params, pixels_BxSxSxC, run)
        x_BxF = layer_norm(pooled(features, self.stages, self.pooling), head["norm"])
        return x_BxF @ head["kernel"] + head["bias"], x_BxF

    def _features(
        self, model: TrunkConfig, params: Tree, pixels_BxSxSxC: jax.Array, run: RunContext
    ) -> Features:
        forward = model.forward(run.placement, run.remat, run.dtype)
        return trunks.features(forward, params, trunks.whole(model, centred(pixels_BxSxSxC)))

    def loss(self, variables: Variables, batch: Batch, keys: jax.Array | None, run: RunContext) -> Sums:
        """Cross-entropy and accuracy; without `keys` nothing is smoothed."""
        logits_BxC = self.logits(variables, batch["image"][:, -1], run)
        return self.against_labels(logits_BxC, batch, 0.0 if keys is None else self.label_smoothing)

    def against_labels(self, logits_BxC: jax.Array, batch: Batch, smoothing: float) -> Sums:
        """Cross-entropy and accuracy of these logits, over the pictures with a label."""
        label_B = batch["label"]
        weight_B = jnp.where(label_B >= 0, batch["weight"], 0.0).astype(jnp.float32)
        logs_BxC = jax.nn.log_softmax(logits_BxC)
        own_B = jnp.take_along_axis(logs_BxC, jnp.maximum(label_B, 0)[:, None], axis=1)[:, 0]
        loss_B = -(1 - smoothing) * own_B - smoothing * jnp.mean(logs_BxC, axis=1)
        right_B = (jnp.argmax(logits_BxC, axis=1) == label_B).astype(jnp.float32)
        count = jnp.sum(weight_B)
        return Sums(jnp.sum(loss_B * weight_B), count, {"accuracy": (jnp.sum(right_B * weight_B), count)})

    def batch_shapes(self, batch_size: int) -> dict[str, jax.ShapeDtypeStruct]:
        """One view of each picture, and what is known of it."""
        sides = (batch_size, 1, self.data.size, self.data.size, self.data.channels)
        numbers = jax.ShapeDtypeStruct((batch_size,), jnp.int32)
        return {
            "image": jax.ShapeDtypeStruct(sides, jnp.uint8),
            "label": numbers,
            "place": numbers,
            "weight": jax.ShapeDtypeStruct((batch_size,), jnp.float32),
            "task_id": numbers,
        }

    def train_source(self, batch_size: int, seed: int, shift: int = 0) -> TrainStream:
        """Endless views of what is learnt."""
        return self.data.train_source(batch_size, seed, shift)

    def validation_sources(self, batch_size: int) -> Mapping[str, Source]:
        """What is held out, once."""
        return self.data.validation_sources(batch_size)

    def order(self) -> dict[str, str]:
        """The pictures and the steps that make views."""
        return self.data.order()

    def fingerprint(self) -> dict[str, str]:
        """The classes, by a hash of their names: a head is of no use for others."""
        return {"classes": hashlib.sha256("\0".join(self.classes).encode()).hexdigest()}

    def files(self) -> dict[str, bytes]:
        """What `from_run` reads."""
        kept = {"classes": list(self.classes), "trunk": stored_trunk.described(self.model)}
        return {FILE: (json.dumps(kept, ensure_ascii=False, indent=1) + "\n").encode()}

    def notices(self) -> Sequence[str]:
        """What was left out, and copies across sides."""
        return self.data.notices()

    def tokens_per_step(self, batch_size: int) -> int:
        """Pictures."""
        return batch_size

    def flops_per_step(self, batch_size: int) -> float:
        """Matrix products of the trunk forward and backward; where it stays as it is, forward alone. Of
        low-rank differences as of all weights."""
        passes = 1.0 if not self.learns.axes(self.model)[0] else 3.0
        return passes * batch_size * self.model.flops(self.model.units)
