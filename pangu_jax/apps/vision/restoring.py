"""Pictures of any size, restored by the model of a finished run.

    restorer = RunRestorer(opening.open_run("runs/x2", family="vision"))
    restorer(pixels_HxWxC, "x2")  # fp32 [2 H, 2 W, C], 0 to 255

A restorer of convolutions alone looks `reach` pixels around: a picture goes through it in tiles that overlap
by so much, and comes out as if it had gone through whole. Beyond its border it is continued by its mirror
image. A trunk looks at all of a square of the size that it was trained with: such squares overlap by half,
and where they do, the further from a square's border the more it counts.
"""

import functools
import math
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from pangu_jax.apps.vision import colours
from pangu_jax.errors import UserError
from pangu_jax.runs.opening import OpenedRun
from pangu_jax.workloads.vision.model import trunk as trunks
from pangu_jax.workloads.vision.model.degrading import SCALES, STRONG, Degraded
from pangu_jax.workloads.vision.model.pixels import centred
from pangu_jax.workloads.vision.model.restoring import Restoration

TILE = 512  # pixels of a side that come out of one tile, at most
STEP = 32  # tiles come in sizes of so many: a program is compiled for each
SQUARES = 16  # of a trunk's squares that go through it at once, for each part of a batch


class RunRestorer:
    """A run's model as a function of a picture.

    Attributes:
      objective: what it was trained to undo.
      channels: of the pictures that it was trained on.

    Args:
      run: of the family "vision".
      tile: pixels of a tile's side, at most.

    Raises:
      UserError: the run learnt no restoration.
    """

    def __init__(self, run: OpenedRun, tile: int = TILE):
        workload: Any = run.workload
        objectives = getattr(workload, "objectives", ())  # a classifier has none
        found = [one for one in objectives if isinstance(one, Restoration)]
        if not found:
            learnt = ", ".join(one.name for one in objectives) or "classes"
            raise UserError(
                f"{run.directory.path} was not trained to restore pictures, but by: {learnt}; a recipe with "
                "@Restoration() among VisionModel.objectives trains one (vision/restore.gin)"
            )
        self._workload, self._run, self._tile = workload, run.spread.run, tile
        self._variables = workload.evaluated(run.variables)
        self._directory = run.directory.path
        self.objective, self.channels = found[0], workload.data.channels
        self._forward = jax.jit(self._restored, static_argnums=2)

    def require(self, task: str, sigma: float | None = None) -> float:
        """Sigma of the noise that the model is to take away; 0 of other tasks.

        Args:
          task: to be done.
          sigma: of noise; None where the run knows only one.

        Raises:
          UserError: the run was not trained for the task, or for such noise.
        """
        tasks, (least, most) = self.objective.tasks, self.objective.sigma
        if task not in tasks:
            raise UserError(f"{self._directory} was not trained for {task}: it can {', '.join(tasks)}")
        if task != "denoise":
            if sigma is not None:
                raise UserError(f"--sigma is of noise, and {task} takes none away: leave it out")
            return 0.0
        if sigma is None and least < most:
            raise UserError(f"say how strong the noise is: --sigma from {least:g} to {most:g}")
        sigma = least if sigma is None else sigma
        if not least <= sigma <= most:
            known = f"{least:g}" if least == most else f"{least:g} to {most:g}"
            raise UserError(f"--sigma {sigma:g}: {self._directory} was trained for noise of {known}")
        return sigma

    def __call__(self, pixels_HxWxC: np.ndarray, task: str, sigma: float | None = None) -> np.ndarray:
        """The picture restored, fp32, `scale` times as large for x2, x3, x4; 0 to 255, not rounded.

        A model of grey pictures works on luma and leaves differences of colour as they are, or enlarges them
        by bicubic interpolation; noise it takes from each colour by itself. One of colours is shown a grey
        picture three times over.

        Args:
          pixels_HxWxC: values of 0 to 255 of any dtype, one channel or three.
          task: one of the run's.
          sigma: of noise, of 255.

        Raises:
          UserError: as `require`.
        """
        strength = self.require(task, sigma) / STRONG
        pixels = np.asarray(pixels_HxWxC, np.float32)
        if task in SCALES:
            pixels = enlarged(pixels, SCALES[task])
        grey = pixels.shape[-1] == 1
        if self.channels == 3:
            made = self._whole(np.repeat(pixels, 3, -1) if grey else pixels, task, strength)
            made = made.mean(-1, keepdims=True) if grey else made
        elif grey or task == "denoise":
            made = np.concatenate(
                [self._whole(part, task, strength) for part in np.split(pixels, pixels.shape[-1], -1)], -1
            )
        else:
            luma, differences = colours.split(pixels)
            made = colours.joined(self._whole(luma, task, strength), differences)
        return np.clip(made, 0.0, 255.0)

    def _whole(self, pixels_HxWxC: np.ndarray, task: str, strength: float) -> np.ndarray:
        number = self.objective.tasks.index(task)
        through = self._tiled if self._workload.model is None else self._blended
        return through(pixels_HxWxC, functools.partial(self._through, number=number, strength=strength))

    def _through(self, pixels_BxHxWxC: np.ndarray, number: int, strength: float) -> np.ndarray:
        told = jnp.full((len(pixels_BxHxWxC),), strength, jnp.float32)
        made = self._forward(self._variables, Degraded(jnp.asarray(pixels_BxHxWxC), told), number)
        return np.asarray(made)

    def _restored(self, variables, degraded: Degraded, number: int) -> jax.Array:
        workload, one = self._workload, self.objective
        run = self._run._replace(phase=number)
        features = ()
        if forward := workload.forward(run):
            stream = trunks.whole(workload.model, centred(degraded.pixels_BxSxSxC))
            features = (trunks.features(forward, variables.params, stream),)
        of = workload.pass_of(one, variables, run)._replace(task=number)
        return one.restore(variables.params[one.name], degraded, features, of)

    def _tiled(self, pixels_HxWxC: np.ndarray, through) -> np.ndarray:
        """Through convolutions alone, as if whole."""
        height, width, channels = pixels_HxWxC.shape
        around = self.objective.shape(None, channels).reach
        rows, columns = (self._side(side) for side in (height, width))
        over = [(around, around + -side % tile) for side, tile in ((height, rows), (width, columns))]
        x = np.pad(pixels_HxWxC, [*over, (0, 0)], "symmetric")
        made = np.empty((height, width, channels), np.float32)
        for top in range(0, height, rows):
            for left in range(0, width, columns):
                part = x[None, top : top + rows + 2 * around, left : left + columns + 2 * around]
                inner = through(part)[0, around : around + rows, around : around + columns]
                to = made[top : top + rows, left : left + columns]
                to[:] = inner[: to.shape[0], : to.shape[1]]
        return made

    def _side(self, length: int) -> int:
        """Of tiles that cover a length: few, alike, and of a size that other pictures have too."""
        step = math.lcm(STEP, self.objective.fold)
        count = math.ceil(length / max(self._tile, step))
        return math.ceil(length / count / step) * step

    def _blended(self, pixels_HxWxC: np.ndarray, through) -> np.ndarray:
        """Through squares of the trunk's size."""
        size = self._workload.model.size
        height, width = pixels_HxWxC.shape[:2]
        over = [(0, max(size - side, 0)) for side in (height, width)]
        x = np.pad(pixels_HxWxC, [*over, (0, 0)], "symmetric")
        weight = np.minimum(np.arange(1, size + 1), np.arange(size, 0, -1)).astype(np.float32)
        weight_SxSx1 = (weight[:, None] * weight)[..., None]
        total, count = np.zeros(x.shape, np.float32), np.zeros((*x.shape[:2], 1), np.float32)
        places = [(t, l) for t in _starts(x.shape[0], size) for l in _starts(x.shape[1], size)]
        together = SQUARES * self._run.placement.batch_shards
        for first in range(0, len(places), together):
            some = places[first : first + together]
            squares = np.stack([x[top : top + size, left : left + size] for top, left in some])
            filled = np.pad(squares, ((0, together - len(some)), (0, 0), (0, 0), (0, 0)))
            for (top, left), made in zip(some, through(filled), strict=False):
                total[top : top + size, left : left + size] += made * weight_SxSx1
                count[top : top + size, left : left + size] += weight_SxSx1
        return (total / count)[:height, :width]


def _starts(length: int, size: int) -> Iterator[int]:
    """Of squares that overlap by half; the last ends with the picture."""
    yield from range(0, length - size, max(size // 2, 1))
    yield length - size


def enlarged(pixels_HxWxC: np.ndarray, scale: int) -> np.ndarray:
    """`scale` times as large by bicubic interpolation, fp32, neither rounded nor clipped."""
    height, width, channels = pixels_HxWxC.shape
    sides = width * scale, height * scale
    parts = [
        Image.fromarray(np.ascontiguousarray(pixels_HxWxC[..., channel], np.float32)).resize(
            sides, Image.Resampling.BICUBIC
        )
        for channel in range(channels)
    ]
    return np.stack([np.asarray(part) for part in parts], axis=-1)


def to_bytes(restored_HxWxC: np.ndarray) -> np.ndarray:
    """Rounded, uint8."""
    return np.clip(np.rint(restored_HxWxC), 0, 255).astype(np.uint8)
