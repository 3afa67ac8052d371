"""A pool as the trunk of a run sees it: rows of features, made once and kept on disk."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pangu_jax.apps.vision.iteration import stored_state
from pangu_jax.apps.vision.iteration.pool import Pool
from pangu_jax.apps.vision.measuring.seen import Viewer
from pangu_jax.errors import UserError
from pangu_jax.parallel.layout import Layout
from pangu_jax.parallel.mesh import make_mesh
from pangu_jax.runs.opening import OpenedRun
from pangu_jax.workloads import RunContext
from pangu_jax.workloads.vision.evaluators import require_trunk

STAGES = 1  # of the trunk, the last ones, all units side by side
WIDTH = 512  # principal components that heads see, at most
LEAST = 1e-2  # share of the largest variance that is added before whitening, so that noise stays small


class PoolFeatures(NamedTuple):
    """What heads learn from, whitened by the pool's plain views.

    Attributes:
      views_NxVxF: fp16, each picture as it is, then in augmented views.
      held_MxF: fp16, what is held out, as it is.
      flops: of the trunk's forward passes that made them, of products.
    """

    views_NxVxF: np.ndarray
    held_MxF: np.ndarray
    flops: float

    @property
    def plain_NxF(self) -> np.ndarray:
        """Of each picture as it is."""
        return self.views_NxVxF[:, 0]


class Whitening(NamedTuple):
    """Principal components of the pool's plain views, which takes no label, brought to similar variance.

    Attributes:
      mean_F: of the features.
      turn_FxW: components over their deviations.
    """

    mean_F: np.ndarray
    turn_FxW: np.ndarray

    @classmethod
    def of(cls, features_NxF: np.ndarray, width: int) -> "Whitening":
        """By these; as many components as there are features where that is fewer."""
        mean_F = features_NxF.mean(0, dtype=np.float64).astype(np.float32)
        x = features_NxF - mean_F
        variance_F, vectors_FxF = np.linalg.eigh((x.T @ x / len(x)).astype(np.float64))
        variance_W, vectors_FxW = variance_F[::-1][:width], vectors_FxF[:, ::-1][:, :width]
        scale_W = 1 / np.sqrt(np.maximum(variance_W, 0) + LEAST * variance_W[0])
        return cls(mean_F, (vectors_FxW * scale_W).astype(np.float32))

    def __call__(self, features_NxF: np.ndarray) -> np.ndarray:
        """fp16 [N, W]."""
        return ((features_NxF - self.mean_F) @ self.turn_FxW).astype(np.float16)


def of_run(run: OpenedRun, pool: Pool, folder: Path | None, say: Callable[[str], None]) -> PoolFeatures:
    """The features, read from `folder` where they are of this run, checkpoint and pool.

    Args:
      run: with a trunk; opened in fp32.
      pool: the pictures.
      folder: where they are kept; nowhere when None.
      say: told what takes long.

    Raises:
      UserError: the run has no trunk, or sees pictures of another size.
    """
    workload: Any = run.workload
    require_trunk(workload, "iterate")
    images, model = pool.images, workload.model
    if (images.size, images.channels) != (model.size, model.channels):
        raise UserError(
            f"images gives pictures of {images.size} pixels and {images.channels} channels, and the run has "
            f"size {model.size} and channels {model.channels}: leave images.size and images.mode out"
        )
    flops = model.flops(model.units) * (len(pool) * (1 + images.views) + len(pool.held_place_M))
    kept = None if folder is None else folder / f"features-{_key(run, pool)}.npz"
    if kept is not None and kept.is_file():
        if found := stored_state.read(kept):
            return PoolFeatures(found["views"], found["held"], flops)
        say(f"{kept} is damaged: made anew")
    spread = run.spread
    mesh = spread.mesh or make_mesh(Layout(data=1), [spread.backend.devices[0]])
    context = RunContext(spread.run.placement, dtype=spread.run.dtype, kernel=spread.run.kernel)
    viewer = Viewer(model, context, mesh, STAGES, "none")
    params = workload.complete(workload.evaluated(run.variables))
    held = len(pool.held_place_M)
    say(f"features of {len(pool)} pictures in {1 + images.views} views and of {held} held out")
    plain_NxF = viewer(params, images, pool.place_N).features_NxF
    whiten = Whitening.of(plain_NxF, WIDTH)
    views_NxVxF = np.stack(
        [whiten(plain_NxF), *map(whiten, viewer.augmented(params, images, pool.place_N).swapaxes(0, 1))],
        axis=1,
    )
    held_MxF = viewer(params, images, pool.held_place_M).features_NxF
    made = PoolFeatures(views_NxVxF, whiten(held_MxF), flops)
    if kept is not None:
        stored_state.write(kept, {"views": made.views_NxVxF, "held": made.held_MxF})
    return made


def _key(run: OpenedRun, pool: Pool) -> str:
    said = {"run": str(run.directory.path), "step": run.manifest["step"], **pool.images.order()}
    digest = hashlib.sha256(json.dumps(said, sort_keys=True).encode())
    for places in (pool.place_N, pool.held_place_M):
        digest.update(np.ascontiguousarray(places, np.int64).tobytes())
    return digest.hexdigest()[:16]
