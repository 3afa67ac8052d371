"""Features of a set of pictures, once: everything else is linear algebra on rows."""

from typing import NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh

from data_pipelines.images.images import Images
from pangu_jax.evaluation.evaluators import Collector
from pangu_jax.workloads import Batch, RunContext, Updates, Variables
from pangu_jax.workloads.vision import PictureClassifier, VisionModel, pooled

BATCH = 250  # pictures at once


class SeenPictures(NamedTuple):
    """Rows of some pictures.

    Attributes:
      place_N: in the set, int64.
      label_N: int, -1 where it is not known.
      features_NxF: fp32, pooled over units.
    """

    place_N: np.ndarray
    label_N: np.ndarray
    features_NxF: np.ndarray

    def at(self, places: np.ndarray) -> "SeenPictures":
        """Those of some places, in their order."""
        order = np.argsort(self.place_N)
        rows = order[np.searchsorted(self.place_N[order], places)]
        return SeenPictures(*(part[rows] for part in self))


class Viewer:
    """A trunk that looks at pictures.

    Args:
      workload: its features are taken.
      run: dtype and kernel.
      mesh: where variables are.
      stages: of the trunk, the last ones, whose features are taken.
      batch_size: pictures at once, over all devices.
    """

    def __init__(
        self,
        workload: VisionModel | PictureClassifier,
        run: RunContext,
        mesh: Mesh,
        stages: int = pooled.STAGES,
        batch_size: int = BATCH,
    ):
        self._workload, self._stages = workload, stages
        self._collect = Collector(workload, run, mesh, -(-batch_size // mesh.size) * mesh.size)

    def __call__(self, variables: Variables, images: Images, places: np.ndarray) -> SeenPictures:
        """The features of pictures in plain view.

        Args:
          variables: as `Workload.evaluated` gives them, on the mesh.
          images: the set.
          places: of the pictures, int [N].
        """
        source = images.once(places, self._collect.batch_size)
        rows = self._collect(self._row, variables, [source]).rows["features"][: len(places)]
        return SeenPictures(places, images.pictures.label_N[places], rows)

    def _row(self, variables: Variables, batch: Batch, run: RunContext) -> Updates:
        params = self._workload.complete(variables)
        features = self._workload.features(params, batch["image"][:, -1], run)
        return Updates(rows={"features": pooled.pooled(features, self._stages)})


def raw(images: Images, places: np.ndarray) -> SeenPictures:
    """The control: pixels of 8 x 8 in place of features."""
    shrink = jax.jit(pooled.raw_pixels)
    batches = images.once(places, BATCH).iterator()
    rows = [np.asarray(shrink(batch["image"][:, -1])) for batch in batches]
    return SeenPictures(places, images.pictures.label_N[places], np.concatenate(rows)[: len(places)])
