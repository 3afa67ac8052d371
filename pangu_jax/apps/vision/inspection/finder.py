"""Photos of any size, through the detector of a finished run."""

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from data_pipelines.images import box_views, joining
from data_pipelines.images.boxes import Boxes
from data_pipelines.images.joining import FoundBoxes, FoundInViews
from pangu_jax.errors import UserError
from pangu_jax.runs.opening import OpenedRun
from pangu_jax.workloads.vision.detector import PictureDetector
from pangu_jax.workloads.vision.model.detecting import Detections

TOGETHER = 8  # views that go through at once, for each part of a batch
LEAST = 0.01  # score of what is told of a photo at all


class PhotoFindings(NamedTuple):
    """What a detector makes of a photo.

    Attributes:
      found: things, likeliest first.
      embedding_F: fp32, the means of its levels' features over the whole photo.
    """

    found: FoundBoxes
    embedding_F: np.ndarray


class PhotoFinder:
    """A run's detector as a function of a photo.

    Attributes:
      classes: of what it finds.

    Args:
      run: of a `PictureDetector`.
      zooms: each photo is looked at at each of them (`box_views.PhotoPart`).
      overlap: of tiles.

    Raises:
      UserError: the run trained something else.
    """

    def __init__(self, run: OpenedRun, zooms: Sequence[float], overlap: float):
        workload: Any = run.workload
        if not isinstance(workload, PictureDetector):
            raise UserError(
                f"{run.directory.path} finds nothing in photos: train a detector, such as by "
                "`pangu train --gin_file vision/powerline.gin`"
            )
        self._workload, self._run = workload, run.spread.run
        self._params = workload.evaluated(run.variables).params
        self._zooms, self._overlap = tuple(zooms), overlap
        self._together = TOGETHER * self._run.placement.batch_shards
        self._forward = jax.jit(self._seen)
        self.classes, self.channels = workload.classes, workload.data.channels

    def __call__(self, pixels_HxWxC: np.ndarray) -> PhotoFindings:
        """Things in a photo of uint8 pixels, and its embedding."""
        data = self._workload.data
        sides = data.height, data.width
        rows, columns = pixels_HxWxC.shape[:2]
        photo = box_views.whole(pixels_HxWxC, Boxes.none())
        # The whole photo comes first: the embedding is of it, whatever the zooms.
        zooms = (1.0, *(zoom for zoom in self._zooms if zoom != 1.0))
        parts = box_views.parts(rows, columns, data.height, data.width, zooms, self._overlap)
        views = [box_views.part_of(photo, part, data.height, data.width) for part in parts]
        found, embedding_NxF = self._through(np.stack([view.pixels_HxWxC for view in views]))
        asked = np.array([part.zoom in self._zooms for part in parts])
        scale, shift = (np.array([getattr(view, name) for view in views]) for name in ("scale", "shift"))
        parts_of = (np.zeros(len(views), int), scale, shift, *map(np.asarray, found))
        in_views = FoundInViews(*(part[asked] for part in parts_of))
        one = joining.joined(in_views, sides, {0: (rows, columns)}, LEAST)[0]
        return PhotoFindings(one, embedding_NxF[0])

    def _through(self, pixels_NxHxWxC: np.ndarray) -> tuple[Detections, np.ndarray]:
        """In batches of one size, the last filled up."""
        made = []
        for first in range(0, len(pixels_NxHxWxC), self._together):
            some = pixels_NxHxWxC[first : first + self._together]
            # One view at a time has a program of its own: most photos are looked at whole.
            size = 1 if len(some) == 1 else self._together
            filled = np.pad(some, ((0, size - len(some)), (0, 0), (0, 0), (0, 0)))
            count, seen = len(some), jax.device_get(self._forward(self._params, filled))
            made.append(jax.tree.map(partial(_first, count), seen))
        return jax.tree.map(lambda *parts: np.concatenate(parts), *made)

    def _seen(self, params: Any, pixels_BxHxWxC: jax.Array) -> tuple[Detections, jax.Array]:
        levels = self._workload.levels(params, pixels_BxHxWxC, self._run)
        pooled = [jnp.mean(level.astype(jnp.float32), axis=(1, 2)) for level in levels]
        return self._workload.found_in(params, levels), jnp.concatenate(pooled, axis=-1)


def _first(count: int, rows: np.ndarray) -> np.ndarray:
    return rows[:count]


def uncertainty(found: FoundBoxes) -> float:
    """How unsure a detector is of a photo, 0 to 1: of the thing that it is least sure of, where 1 is a score
    of a half."""
    return float(np.max(1 - np.abs(2 * found.score_N - 1), initial=0.0))


def surest(found: FoundBoxes, label: int) -> float:
    """The score of the likeliest thing of a class; 0 where there is none."""
    return float(np.max(found.score_N[found.label_N == label], initial=0.0))
