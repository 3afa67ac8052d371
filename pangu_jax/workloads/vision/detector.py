"""Things found in photos: a trunk under a feature pyramid, and heads without anchors."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import gin
import jax
import jax.numpy as jnp
import numpy as np

from pangu_jax.errors import UserError
from pangu_jax.recipes import Recipe, Reference, make
from pangu_jax.workloads import (
    Batch,
    RunContext,
    Source,
    Sums,
    TrainStream,
    Tree,
    Updates,
    Variables,
    Workload,
)
from pangu_jax.workloads.exhibits import Exhibit
from pangu_jax.workloads.vision import averaging, showing_boxes
from pangu_jax.workloads.vision.bases import PretrainedTrunk
from pangu_jax.workloads.vision.boxed_data import BoxedData, NoBoxes
from pangu_jax.workloads.vision.model import detecting
from pangu_jax.workloads.vision.model.box_losses import BoxLoss
from pangu_jax.workloads.vision.model.detecting import Detections, DetectorShape, HeadMaps
from pangu_jax.workloads.vision.model.hierarchical import HierarchicalConfig
from pangu_jax.workloads.vision.model.levels import (
    ConvolutionalConfig,
    HierarchicalLevels,
    Levels,
    LevelTrunk,
)
from pangu_jax.workloads.vision.model.pixels import centred

FILE = "detector.json"  # beside the run's checkpoints: its classes, and the size of its views

register = partial(gin.external_configurable, module="pangu_jax.workloads.vision")
register(ConvolutionalConfig, "ConvolutionalTrunk")
register(BoxLoss)


@gin.configurable(module="pangu_jax.workloads.vision")
class PictureDetector(Workload):
    """A trunk, a pyramid of its levels, and heads that say where things of each class are.

    Parameters are those of the trunk, and "detector".

    Args:
      data: photos with boxes, @boxed_images().
      trunk: @ConvolutionalTrunk() or @HierarchicalTransformer(); None to take that of `base`.
      base: a trunk that has learnt something, @TrunkOfRun(); None for a fresh one.
      box_loss: how maps are held against boxes; @BoxLoss() when None.
      average: how much of the averaged parameters is kept in a step; they are what is evaluated. 0 for none.
      most: things that are found in a view, at most.
    """

    name = "vision"
    throughput_unit = "pictures"

    def __init__(
        self,
        data: BoxedData = gin.REQUIRED,
        trunk: ConvolutionalConfig | HierarchicalConfig | None = None,
        base: PretrainedTrunk | None = None,
        box_loss: BoxLoss | None = None,
        average: float = 0.998,
        most: int = 100,
    ):
        self.data, self.base, self.average, self.most = data, base, average, most
        self.box_loss = box_loss or BoxLoss()
        self.classes = tuple(data.classes)
        self.trunk = self._trunk(trunk)
        self.shape = DetectorShape(self.trunk, len(self.classes))
        self._require_fit()

    def _trunk(self, given: Any) -> LevelTrunk:
        base: Any = self.base.config if self.base else None
        if (given is None) == (base is None):
            raise UserError("PictureDetector: give either trunk or base, which brings its own shape")
        found = given or base
        if isinstance(found, HierarchicalConfig):
            return HierarchicalLevels(found)
        if not isinstance(found, ConvolutionalConfig):
            raise UserError(
                f"PictureDetector needs a trunk of several scales, and {type(found).__name__} has one: take "
                "@HierarchicalTransformer() or @ConvolutionalTrunk()"
            )
        return found

    def _require_fit(self) -> None:
        data = self.data
        if wanted := self.trunk.misfit(data.height, data.width):
            raise UserError(
                f"boxed_images gives views of {data.height} x {data.width}, the trunk takes {wanted}: set "
                "boxed_images.height and width to it"
            )
        if data.channels != self.trunk.channels:
            raise UserError(
                f"boxed_images gives {data.channels} channels and the trunk takes {self.trunk.channels}: set "
                "them alike"
            )
        if not 0 <= self.average < 1 or self.most < 1:
            raise UserError(
                f"PictureDetector.average = {self.average} must be from 0 to below 1, most = {self.most} at "
                "least 1"
            )

    @classmethod
    def from_run(cls, recipe: Recipe, reference: Reference, directory: Path) -> "PictureDetector":
        """The workload of a finished run, by the file that it keeps: its photos need not be there."""
        kept = directory / FILE
        try:
            found = json.loads(kept.read_text("utf-8"))
            height, width, channels = (int(found[name]) for name in ("height", "width", "channels"))
            data = NoBoxes(height, width, channels, tuple(map(str, found["classes"])))
        except (OSError, ValueError, KeyError, TypeError):
            raise UserError(f"{kept} is missing or damaged: run this run's `pangu train` again") from None
        made: Any = {
            name: make(recipe, value, reference.scope)
            for name, value in recipe.arguments(reference).items()
            if name != "data"
        }
        return cls(data=data, **made)

    def given(self) -> Tree:
        """The shapes of the base's trunk."""
        return jax.eval_shape(self.trunk.init, jax.random.key(0)) if self.base else {}

    def given_axes(self) -> Tree:
        """Their logical axes."""
        return dict(self.trunk.axes()) if self.base else {}

    def restore_given(self, shardings: Tree) -> Tree:
        """The base's trunk."""
        return self.base.restore(shardings) if self.base else {}

    def init(self, key: jax.Array) -> Variables:
        """All fresh."""
        return self.start(key, {})

    def start(self, key: jax.Array, given: Tree) -> Variables:
        """The base's trunk or a fresh one, and a fresh pyramid and heads."""
        of_trunk, of_detector = jax.random.split(key)
        params = dict(given) if given else dict(self.trunk.init(of_trunk))
        params["detector"] = self.shape.init(of_detector)
        return Variables(params, self._extra(params, jnp.float32(0)))

    def logical_axes(self) -> Variables:
        """Those of the trunk; convolutions are whole everywhere."""
        params = {**self.trunk.axes(), "detector": self.shape.axes()}
        return Variables(params, self._extra(params, ()))

    def _extra(self, averaged: Tree, steps: Any) -> Tree:
        return {"averaged": averaged, "steps": steps} if self.average else {}

    def dimensions(self) -> dict[str, int]:
        """What a layout must divide."""
        return self.trunk.dimensions()

    def after_step(self, variables: Variables, updates: Updates) -> Tree:
        """Averaged parameters."""
        del updates
        params, extra, _ = variables
        if not extra:
            return extra
        steps = extra["steps"] + 1
        return self._extra(averaging.following(self.average, steps, extra["averaged"], params), steps)

    def evaluated(self, variables: Variables) -> Variables:
        """With averaged parameters, where there are any."""
        return averaging.evaluated(variables)

    def levels(self, params: Tree, pixels_BxHxWxC: jax.Array, run: RunContext) -> Levels:
        """Features of pictures with values of 0 to 255, from fine to coarse."""
        pixels = centred(pixels_BxHxWxC)
        return self.trunk.levels(params, pixels, run.placement, run.remat, run.dtype)

    def maps(self, params: Tree, pixels_BxHxWxC: jax.Array, run: RunContext) -> tuple[HeadMaps, ...]:
        """What each level with a head says."""
        return detecting.head_maps(self.shape, params["detector"], self.levels(params, pixels_BxHxWxC, run))

    def found_in(self, params: Tree, levels: Levels) -> Detections:
        """The likeliest things in each view, by its levels and by parameters as `evaluated` has them."""
        maps = detecting.head_maps(self.shape, params["detector"], levels)
        return detecting.detections(maps, self.shape.strides, self.most)

    def loss(self, variables: Variables, batch: Batch, keys: jax.Array | None, run: RunContext) -> Sums:
        """Of maps and of sides, a picture's things added up."""
        del keys
        maps = self.maps(variables.params, batch["image"], run)
        counts = np.maximum(np.asarray(self.data.class_counts, np.float32), 1.0)
        share_C = jnp.asarray(counts / counts.sum())
        heat_B = sides_B = jnp.zeros(len(batch["image"]))
        for level, (one, stride) in enumerate(zip(maps, self.shape.strides, strict=True)):
            targets = self.box_loss.targets(batch["edges"], batch["label"], one, stride, level)
            heat_B += self.box_loss.heat_loss(one.logit_BxHxWxC, targets, share_C)
            sides_B += self.box_loss.sides_loss(one.sides_BxHxWx4, targets, stride)
        weight_B = batch["weight"].astype(jnp.float32)
        count = jnp.sum(weight_B)
        parts = {name: jnp.sum(of * weight_B) for name, of in (("heat", heat_B), ("sides", sides_B))}
        total = parts["heat"] + self.box_loss.sides * parts["sides"]
        return Sums(total, count, {f"loss/{name}": (part, count) for name, part in parts.items()})

    def batch_shapes(self, batch_size: int) -> dict[str, jax.ShapeDtypeStruct]:
        """Views as uint8, and their boxes."""
        data = self.data
        shapes: dict[str, tuple[tuple[int, ...], Any]] = {
            "image": ((data.height, data.width, data.channels), jnp.uint8),
            "edges": ((data.most, 4), jnp.float32),
            "label": ((data.most,), jnp.int32),
            "place": ((), jnp.int32),
            "scale": ((2,), jnp.float32),
            "shift": ((2,), jnp.float32),
            "weight": ((), jnp.float32),
            "task_id": ((), jnp.int32),
        }
        return {
            name: jax.ShapeDtypeStruct((batch_size, *sides), dtype) for name, (sides, dtype) in shapes.items()
        }

    def train_source(self, batch_size: int, seed: int, shift: int = 0) -> TrainStream:
        """Endless views of what is learnt from."""
        return self.data.train_source(batch_size, seed, shift)

    def validation_sources(self, batch_size: int) -> Mapping[str, Source]:
        """What is held out, once."""
        return self.data.validation_sources(batch_size)

    def order(self) -> dict[str, str]:
        """Photos, boxes, sides and steps."""
        return self.data.order()

    def fingerprint(self) -> dict[str, str]:
        """The classes and their numbers, by a hash: heads are of no use for others."""
        return {"classes": hashlib.sha256("\0".join(self.classes).encode()).hexdigest()}

    def files(self) -> dict[str, bytes]:
        """What `from_run` reads."""
        data = self.data
        kept = {
            "classes": list(self.classes),
            "height": data.height,
            "width": data.width,
            "channels": data.channels,
        }
        return {FILE: (json.dumps(kept, ensure_ascii=False, indent=1) + "\n").encode()}

    def notices(self) -> Sequence[str]:
        """Boxes read, kept and dropped; what was left out; copies across sides."""
        return self.data.notices()

    def exhibits(self, variables: Variables, run: RunContext) -> Sequence[Exhibit]:
        """Held-out photos with what is there and what was found."""
        sources = self.validation_sources(showing_boxes.SHOWN)
        if not sources or jax.process_count() > 1:
            return ()
        (source,) = sources.values()
        find = jax.jit(lambda params, pixels: self.found_in(params, self.levels(params, pixels, run)))
        return showing_boxes.exhibits(source.batch(0), partial(find, variables.params), self.classes)

    def tokens_per_step(self, batch_size: int) -> int:
        """Pictures."""
        return batch_size

    def flops_per_step(self, batch_size: int) -> float:
        """Convolutions and products, forward and backward (3x forward)."""
        sides = self.data.height, self.data.width
        return 3.0 * batch_size * (self.trunk.forward_flops(*sides) + self.shape.forward_flops(*sides))
