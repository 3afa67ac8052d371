"""Vision models as the trainer sees them."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Protocol

import gin
import jax
import jax.numpy as jnp
import numpy as np

from pangu_jax.errors import UserError
from pangu_jax.workloads import Batch, RunContext, Source, Sums, TrainStream, Tree, Variables, Workload
from pangu_jax.workloads.exhibits import Exhibit, Image
from pangu_jax.workloads.vision.model import hierarchical, masked
from pangu_jax.workloads.vision.model.hierarchical import HierarchicalConfig, TrunkForward
from pangu_jax.workloads.vision.model.masked import MaskedPixels

SHOWN = 8  # pictures of a report
COMPARED = 64  # pictures of a batch for the baseline


class PictureData(Protocol):
    """Where pictures come from, such as `data_pipelines.images.images.Images`.

    A batch is image uint8 [B, views, size, size, channels], label, place and task_id int32 [B], weight [B].
    """

    size: int
    views: int
    task_names: Sequence[str]

    @property
    def channels(self) -> int:
        """Of a picture."""
        ...

    def train_source(self, batch_size: int, seed: int, shift: int = 0) -> TrainStream:
        """Endless views."""
        ...

    def validation_sources(self, batch_size: int) -> Mapping[str, Source]:
        """What is held out."""
        ...

    def order(self) -> dict[str, str]:
        """What decides the stream, in words."""
        ...

    def notices(self) -> Sequence[str]:
        """What a person must be told."""
        ...


gin.external_configurable(HierarchicalConfig, "HierarchicalTransformer", module="pangu_jax.workloads.vision")
gin.external_configurable(MaskedPixels, module="pangu_jax.workloads.vision")


@gin.configurable(module="pangu_jax.workloads.vision")
class VisionModel(Workload):
    """A trunk that learns from pictures without labels, by painting what it was not shown.

    Args:
      model: the trunk's shape, @HierarchicalTransformer().
      data: where pictures come from, @images().
      objective: what is learnt, @MaskedPixels().
    """

    name = "vision"
    loss_unit = "squared difference per value"
    throughput_unit = "pictures"

    def __init__(
        self,
        model: HierarchicalConfig = gin.REQUIRED,
        data: PictureData = gin.REQUIRED,
        objective: MaskedPixels = gin.REQUIRED,
    ):
        if (data.size, data.channels) != (model.size, model.channels):
            raise UserError(
                f"images gives pictures of {data.size} pixels and {data.channels} channels, and "
                f"HierarchicalTransformer has size {model.size} and channels {model.channels}: set both alike"
            )
        if data.views != 1:
            raise UserError(
                f"images.views = {data.views}: masked pixels learn from one view of a picture; take 1"
            )
        self.model, self.data, self.objective = model, data, objective

    def init(self, key: jax.Array) -> Variables:
        """Fresh fp32 parameters."""
        return Variables(masked.init(self.model, self.objective, key))

    def logical_axes(self) -> Variables:
        """Logical axes of every parameter."""
        return Variables(
            {"trunk": hierarchical.axes(self.model), "painter": masked.axes(self.model, self.objective)}
        )

    def dimensions(self) -> dict[str, int]:
        """What a layout must divide: what all parts of trunk and painter have in common."""
        model, painter = self.model, self.objective
        stems = [int(model.stem_ratio * width) for width in model.widths[:2]]
        return {
            "embed": math.gcd(model.widths[0], painter.width),
            "heads": math.gcd(model.heads, painter.heads),
            "mlp": math.gcd(*stems, int(model.ratio * model.d_model), 4 * painter.width),
        }

    def loss(self, variables: Variables, batch: Batch, keys: jax.Array | None, run: RunContext) -> Sums:
        """Mean squared difference of what was painted, summed over pictures."""
        made = self._paint(variables.params, batch, keys, run)
        weight_B = batch["weight"].astype(jnp.float32)
        total, count = jnp.sum(made.loss_B * weight_B), jnp.sum(weight_B)
        return Sums(total, count, {f"loss/{self.data.task_names[0]}": (total, count)})

    def _paint(self, params: Tree, batch: Batch, keys: jax.Array | None, run: RunContext) -> masked.Painted:
        keys = held_out_keys(batch) if keys is None else keys
        forward = TrunkForward(self.model, run.placement, run.remat, run.dtype)
        return masked.paint(forward, self.objective, params, centred(batch["image"][:, 0]), keys)

    def batch_shapes(self, batch_size: int) -> dict[str, jax.ShapeDtypeStruct]:
        """Pictures as uint8, and what is known of each."""
        sides = (batch_size, self.data.views, self.model.size, self.model.size, self.model.channels)
        numbers = jax.ShapeDtypeStruct((batch_size,), jnp.int32)
        return {
            "image": jax.ShapeDtypeStruct(sides, jnp.uint8),
            "label": numbers,
            "place": numbers,
            "weight": jax.ShapeDtypeStruct((batch_size,), jnp.float32),
            "task_id": numbers,
        }

    def train_source(self, batch_size: int, seed: int, shift: int = 0) -> TrainStream:
        """Endless views of what is trained on."""
        return self.data.train_source(batch_size, seed, shift)

    def validation_sources(self, batch_size: int) -> Mapping[str, Source]:
        """What is held out, once."""
        return self.data.validation_sources(batch_size)

    def order(self) -> dict[str, str]:
        """The pictures and the steps that make views."""
        return self.data.order()

    def notices(self) -> Sequence[str]:
        """What was left out, and copies across sides."""
        return self.data.notices()

    def baselines(self) -> dict[str, dict[str, float]]:
        """The loss of painting all that was left out in the mean colour of what is seen."""

        @jax.jit
        def of(batch: Batch) -> tuple[jax.Array, jax.Array]:
            pixels = centred(batch["image"][:, 0])
            made = masked.mean_painted(self.model, self.objective, pixels, held_out_keys(batch))
            return jnp.sum(made.loss_B * batch["weight"]), jnp.sum(batch["weight"])

        found = {}
        for task, source in self.validation_sources(COMPARED).items():
            sums = [of(source.batch(step)) for step in range(len(source))]
            total, count = (float(sum(part)) for part in zip(*sums, strict=True))
            found[task] = {"mean colour": total / count}
        return found

    def exhibits(self, variables: Variables, run: RunContext) -> Sequence[Exhibit]:
        """Held-out pictures: as they are, as they were seen, and painted."""
        sources = self.validation_sources(SHOWN)
        if not sources or jax.process_count() > 1:
            return ()
        (source,) = sources.values()
        batch = source.batch(0)
        made = jax.jit(lambda p, b: self._paint(p, b, None, run))(variables.params, batch)
        pixels = centred(jnp.asarray(batch["image"][:, 0]))
        unseen = made._replace(painted_BxUxV=jnp.zeros_like(made.painted_BxUxV))
        plain = dataclasses.replace(self.objective, normalised=False)
        rows = [
            pixels,
            masked.reconstructed(self.model, plain, unseen, pixels),
            masked.reconstructed(self.model, self.objective, made, pixels),
        ]
        shown = int(batch["weight"].sum())
        sheet = np.concatenate(
            [np.concatenate(list(to_bytes(np.asarray(row[:shown]))), axis=1) for row in rows], axis=0
        )
        colours = "; painted units have the true mean and variance" if self.objective.normalised else ""
        return [Image(f"held out: as they are, as seen, painted{colours}", sheet)]

    def tokens_per_step(self, batch_size: int) -> int:
        """Pictures."""
        return batch_size

    def flops_per_step(self, batch_size: int) -> float:
        """Matrix products forward and backward (3x forward) of the units that are seen and of the painter."""
        model, objective = self.model, self.objective
        seen, units, width = objective.kept(model.units), model.units, objective.width
        first, second, main = model.widths
        per_unit = 2 * 16 * model.patch**2 * model.channels * first
        per_unit += 2 * model.depths[0] * 16 * 4 * first * int(model.stem_ratio * first)
        per_unit += 2 * model.depths[1] * 4 * 4 * second * int(model.stem_ratio * second)
        per_unit += 2 * (4 * 4 * first * second + 4 * second * main)
        per_unit += model.depths[2] * (8 * main**2 + 4 * main * int(model.ratio * main) + 4 * seen * main)
        per_unit += 2 * 7 * main * width
        per_painted = objective.layers * (8 * width**2 + 16 * width**2 + 4 * units * width)
        per_painted += 2 * width * model.unit**2 * model.channels
        return 3.0 * batch_size * (seen * per_unit + units * per_painted)


def held_out_keys(batch: Batch) -> jax.Array:
    """A key per picture, of its place in the set: the same units are left out each time it is evaluated."""
    return jax.vmap(lambda place: jax.random.fold_in(jax.random.key(0), place))(batch["place"])


def centred(pixels: jax.Array) -> jax.Array:
    """uint8 to about 0 and unit variance, fp32: by what photos have on average, the same for every set."""
    return (jnp.asarray(pixels, jnp.float32) / 255.0 - 0.45) / 0.25


def to_bytes(values: np.ndarray) -> np.ndarray:
    """The inverse of `centred`, uint8."""
    return np.clip(np.rint((values * 0.25 + 0.45) * 255.0), 0, 255).astype(np.uint8)
