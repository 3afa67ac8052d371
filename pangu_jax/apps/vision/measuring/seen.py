"""Features of a set of pictures, once: everything else is linear algebra on rows."""

from typing import NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh

from data_pipelines.images.images import Images
from pangu_jax.evaluation.evaluators import Collector
from pangu_jax.parallel import rules
from pangu_jax.workloads import Batch, RunContext, Tree, Updates, Variables
from pangu_jax.workloads.vision import PictureClassifier, pooled
from pangu_jax.workloads.vision.bases import FreshTrunk
from pangu_jax.workloads.vision.data import NoPictures
from pangu_jax.workloads.vision.learning import AllWeights
from pangu_jax.workloads.vision.model.trunk import Features, TrunkConfig
from pangu_jax.workloads.vision.pooled import Pooling

BATCH = 250  # pictures at once


class SeenPictures(NamedTuple):
    """Rows of some pictures.

    Attributes:
      place_N: in the set, int64.
      label_N: int, -1 where it is not known.
      features_NxF: fp32, of the whole picture.
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
    """Trunks of one shape that look at pictures, by one program.

    Args:
      config: the shape.
      run: dtype and kernel.
      mesh: where they run.
      stages: of the trunk, the last ones, whose features are taken.
      pooling: "mean" over units, or "none" for all of them.
      batch_size: pictures at once, over all devices.
    """

    def __init__(
        self,
        config: TrunkConfig,
        run: RunContext,
        mesh: Mesh,
        stages: int = pooled.STAGES,
        pooling: Pooling = "mean",
        batch_size: int = BATCH,
    ):
        nothing = NoPictures(config.size, config.channels, 1, False, ("", " "))
        # Whatever a recipe that is in use binds for a classifier of its own.
        self._workload = PictureClassifier(FreshTrunk(config), nothing, AllWeights(), 1, 0.0, "mean")
        self._stages, self._pooling = stages, pooling
        self._shardings = rules.storage_shardings(mesh, self._workload.logical_axes())
        self._collect = Collector(self._workload, run, mesh, -(-batch_size // mesh.size) * mesh.size)

    def __call__(self, params: Tree, images: Images, places: np.ndarray) -> SeenPictures:
        """The features of pictures in plain view.

        Args:
          params: {"trunk", "main"}, fp32; other names are passed over.
          images: the set.
          places: of the pictures, int [N].
        """
        source = images.once(places, self._collect.batch_size)
        rows = self._collect(self._row, self._variables(params), [source]).rows["features"][: len(places)]
        return SeenPictures(places, images.pictures.label_N[places], rows)

    def augmented(self, params: Tree, images: Images, places: np.ndarray) -> np.ndarray:
        """The features of pictures in views as in training, fp32 [N, V, F]; arguments as when called."""
        source = images.augmented(places, self._collect.batch_size)
        return self._collect(self._views, self._variables(params), [source]).rows["features"][: len(places)]

    def _variables(self, params: Tree) -> Variables:
        trunk = {name: params[name] for name in ("trunk", "main")}
        return jax.device_put(self._workload.start(jax.random.key(0), trunk), self._shardings)

    def _row(self, variables: Variables, batch: Batch, run: RunContext) -> Updates:
        features = self._workload.features(variables.params, batch["image"][:, -1], run)
        return Updates(rows={"features": self._pooled(features)})

    def _views(self, variables: Variables, batch: Batch, run: RunContext) -> Updates:
        count, views = batch["image"].shape[:2]
        pixels = batch["image"].reshape(count * views, *batch["image"].shape[2:])
        rows = self._pooled(self._workload.features(variables.params, pixels, run))
        return Updates(rows={"features": rows.reshape(count, views, -1)})

    def _pooled(self, features: Features) -> jax.Array:
        return pooled.pooled(features, self._stages, self._pooling)


def raw(images: Images, places: np.ndarray) -> SeenPictures:
    """The control: pixels of 8 x 8 in place of features."""
    shrink = jax.jit(pooled.raw_pixels)
    batches = images.once(places, BATCH).iterator()
    rows = [np.asarray(shrink(batch["image"][:, -1])) for batch in batches]
    return SeenPictures(places, images.pictures.label_N[places], np.concatenate(rows)[: len(places)])
