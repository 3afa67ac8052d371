"""Restoration: pictures are made worse in a known way, and what is lost is learnt (IPT, arXiv 2012.00364).

A step is about one task, in turns: tasks share the body of the restorer and have a head and a tail each. With
a trunk, its features of the degraded picture are added in the middle of the body; without one the restorer
stands alone.
"""

import functools
from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

import jax
import jax.numpy as jnp
from flax import nnx

from pangu_jax.models.parameters import Tree, arrays, logical_axes
from pangu_jax.workloads.vision.model import convolutions, degrading
from pangu_jax.workloads.vision.model import trunk as trunks
from pangu_jax.workloads.vision.model.convolutions import Restorer, RestorerShape
from pangu_jax.workloads.vision.model.degrading import SCALES, TASKS, Degraded
from pangu_jax.workloads.vision.model.objective import Begun, Pass, PictureBatch, PictureObjective, Term
from pangu_jax.workloads.vision.model.pixels import centred
from pangu_jax.workloads.vision.model.trunk import Features, TrunkConfig

Loss = Literal["l1", "mse"]


@dataclass(frozen=True)
class Restoration(PictureObjective):
    """What is undone, and the restorer.

    Args:
      weight: in a joint loss.
      tasks: "denoise", "x2", "x3", "x4" (enlarging), "deblock" (JPEG).
      sigma: of noise, of 255: least and most.
      quality: of JPEG, from 1 to 100: least and most.
      loss: "l1", the mean absolute difference, or "mse", the mean squared one.
      width: channels of the body.
      blocks: of the body, of two convolutions each.
      fold: pixels of a side that the body sees as one place; it divides a picture's side.
    """

    name: ClassVar[str] = "restoration"
    loss_unit: ClassVar[str] = "difference per value of 0 to 1"
    needs_trunk: ClassVar[bool] = False

    tasks: tuple[str, ...] = ("denoise", "x2")
    sigma: tuple[float, float] = (25.0, 25.0)
    quality: tuple[int, int] = (10, 40)
    loss: Loss = "l1"
    width: int = 64
    blocks: int = 6
    fold: int = 2

    def __post_init__(self):
        unknown = [task for task in self.tasks if task not in TASKS]
        if unknown or not self.tasks or len(set(self.tasks)) < len(self.tasks):
            raise ValueError(f"Restoration.tasks {self.tasks}: give some of {', '.join(TASKS)}, each once")
        if self.loss not in get_args(Loss):
            raise ValueError(f"Restoration.loss {self.loss!r} is unknown: {' or '.join(get_args(Loss))}")
        if not 0 < self.sigma[0] <= self.sigma[1]:
            raise ValueError(f"Restoration.sigma {self.sigma}: give the least and the most, above 0")
        if not 1 <= self.quality[0] <= self.quality[1] <= 100:
            raise ValueError(f"Restoration.quality {self.quality}: give the least and the most, of 1 to 100")
        if min(self.width, self.blocks, self.fold) < 1:
            raise ValueError("Restoration.width, blocks and fold must be at least 1")

    @property
    def turns(self) -> tuple[str, ...]:
        """The tasks."""
        return self.tasks

    def shape(self, trunk: TrunkConfig | None, channels: int) -> RestorerShape:
        """Of the restorer; ValueError where `fold` does not divide the trunk's units."""
        unit, features = (trunk.unit, sum(trunk.feature_widths)) if trunk else (0, 0)
        return RestorerShape(len(self.tasks), channels, self.fold, self.width, self.blocks, unit, features)

    def init(self, trunk: TrunkConfig | None, channels: int, key: jax.Array) -> Tree:
        """Fresh fp32 parameters of the restorer."""
        return arrays(Restorer(self.shape(trunk, channels), nnx.Rngs(params=key)))

    def axes(self, trunk: TrunkConfig | None, channels: int) -> Tree:
        """Their logical axes."""
        return _axes(self.shape(trunk, channels))

    def begin(self, trunk: TrunkConfig | None, pictures: PictureBatch, task: int) -> Begun:
        """The plain picture of each, made worse as the task of that number has it."""
        original_BxSxSxC = pictures.image_BxVxSxSxC[:, -1].astype(jnp.float32)
        if original_BxSxSxC.shape[1] % self.fold:
            raise ValueError(
                f"pictures of {original_BxSxSxC.shape[1]} pixels are not divisible by Restoration.fold "
                f"{self.fold}"
            )
        degraded = self.degrade(original_BxSxSxC, pictures.keys_B, self.tasks[task])
        streams = (trunks.whole(trunk, centred(degraded.pixels_BxSxSxC)),) if trunk else ()
        return Begun(streams, degraded)

    def degrade(self, pixels_BxSxSxC: jax.Array, keys_B: jax.Array, task: str) -> Degraded:
        """Pictures of 0 to 255 made worse, by a key each."""
        if task == "denoise":
            return degrading.noisy(pixels_BxSxSxC, self.sigma, keys_B)
        if task == "deblock":
            return degrading.blocked(pixels_BxSxSxC, self.quality, keys_B)
        return degrading.enlarged(pixels_BxSxSxC, SCALES[task])

    def finish(
        self, params: Tree, pictures: PictureBatch, begun: Begun, features: tuple[Features, ...], run: Pass
    ) -> Term:
        """How far the restored pictures are from the originals."""
        original_BxSxSxC = pictures.image_BxVxSxSxC[:, -1].astype(jnp.float32)
        restored_BxSxSxC = self.restore(params, begun.kept, features, run)
        inner = slice(0, degrading.counted(original_BxSxSxC.shape[1], SCALES.get(self.tasks[run.task], 1)))
        difference = (restored_BxSxSxC - original_BxSxSxC)[:, inner, inner] / 255.0
        squared_B = jnp.mean(jnp.square(difference), axis=(1, 2, 3))
        loss_B = jnp.mean(jnp.abs(difference), axis=(1, 2, 3)) if self.loss == "l1" else squared_B
        psnr_B = -10.0 * jnp.log10(jnp.maximum(squared_B, 1e-10))
        return Term(loss_B, {f"psnr_{self.tasks[run.task]}": jax.lax.stop_gradient(psnr_B)}, {})

    def restore(
        self, params: Tree, degraded: Degraded, features: tuple[Features, ...], run: Pass
    ) -> jax.Array:
        """Degraded pictures, restored: fp32, about 0 to 255, by the head and tail of the task `run.task`.

        Args:
          params: of the restorer.
          degraded: sides of any size that `fold` divides; of the trunk's size with a trunk.
          features: of the degraded pictures, of one stream; () without a trunk.
          run: how it is carried out.
        """
        trunk = run.forward.config if run.forward else None
        shape = self.shape(trunk, degraded.pixels_BxSxSxC.shape[-1])
        joined = None
        if features:
            joined = jnp.concatenate(features[0], axis=-1)
            logical = self.axes(trunk, shape.channels)["project"]
            gathered = run.placement.weights(
                {"project": params["project"].astype(run.dtype)}, {"project": logical}
            )
            params = {**params, **gathered}
        return convolutions.restore(
            shape, params, degraded.pixels_BxSxSxC, degraded.strength_B, run.task, joined, run.dtype
        )

    def flops(self, trunk: TrunkConfig | None, size: int, channels: int) -> float:
        """Of the convolutions, and of the trunk."""
        places, values = (size // self.fold) ** 2, channels * self.fold**2
        per_place = 18 * self.width * (2 * values + 1 + 2 * self.blocks * self.width)
        own = float(places * per_place)
        if trunk is None:
            return own
        laid_out = (trunk.unit // self.fold) ** 2 * self.width
        return own + trunk.flops(trunk.units) + 2.0 * trunk.units * sum(trunk.feature_widths) * laid_out


@functools.cache
def _axes(shape: RestorerShape) -> Tree:
    return logical_axes(lambda: Restorer(shape, nnx.Rngs(0)))
