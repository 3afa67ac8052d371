"""A pool as the trunk of a run sees it: rows of features, made once and kept on disk."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pangu_jax.apps.vision.iteration.pool import Pool
from pangu_jax.apps.vision.measuring.seen import Viewer
from pangu_jax.errors import UserError
from pangu_jax.parallel.layout import Layout
from pangu_jax.parallel.mesh import make_mesh
from pangu_jax.runs.opening import OpenedRun
from pangu_jax.workloads import RunContext
from pangu_jax.workloads.vision import pooled
from pangu_jax.workloads.vision.evaluators import require_trunk
from pangu_jax.workloads.vision.probing import Standard

STAGES = 1  # of the trunk, the last ones, by quarters of the picture


class PoolFeatures(NamedTuple):
    """What heads learn from, standardised by the pool's plain views.

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
        try:
            with np.load(kept, allow_pickle=False) as found:
                return PoolFeatures(found["views"], found["held"], flops)
        except (OSError, ValueError, KeyError, EOFError):
            say(f"{kept} is damaged: made anew")
    spread = run.spread
    mesh = spread.mesh or make_mesh(Layout(data=1), [spread.backend.devices[0]])
    context = RunContext(spread.run.placement, dtype=spread.run.dtype, kernel=spread.run.kernel)
    viewer = Viewer(model, context, mesh, STAGES, pool=pooled.quadrants)
    params = workload.complete(workload.evaluated(run.variables))
    held = len(pool.held_place_M)
    say(f"features of {len(pool)} pictures in {1 + images.views} views and of {held} held out")
    plain_NxF = viewer(params, images, pool.place_N).features_NxF
    standard = Standard.of(plain_NxF)
    augmented_NxVxF = viewer.augmented(params, images, pool.place_N)
    held_MxF = viewer(params, images, pool.held_place_M).features_NxF
    views_NxVxF = np.concatenate([plain_NxF[:, None], augmented_NxVxF], axis=1)
    made = PoolFeatures(
        standard(views_NxVxF).astype(np.float16), standard(held_MxF).astype(np.float16), flops
    )
    if kept is not None:
        partial = kept.with_suffix(".partial.npz")
        np.savez(partial, views=made.views_NxVxF, held=made.held_MxF)
        partial.replace(kept)
    return made


def _key(run: OpenedRun, pool: Pool) -> str:
    said = {"run": str(run.directory.path), "step": run.manifest["step"], **pool.images.order()}
    digest = hashlib.sha256(json.dumps(said, sort_keys=True).encode())
    for places in (pool.place_N, pool.held_place_M):
        digest.update(np.ascontiguousarray(places, np.int64).tobytes())
    return digest.hexdigest()[:16]
