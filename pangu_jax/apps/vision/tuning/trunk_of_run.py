"""A trunk that lies in a run directory."""

import functools
from typing import Any

import gin
import jax

from pangu_jax import recipes
from pangu_jax.errors import UserError
from pangu_jax.recipes.functions import TRAIN
from pangu_jax.runs import best_step, checkpoint_files, opening
from pangu_jax.runs.checkpoints import Checkpoints
from pangu_jax.runs.run_directory import RunDirectory
from pangu_jax.workloads import Tree
from pangu_jax.workloads.vision.model.trunk import TrunkConfig


@gin.configurable(module="pangu_jax.apps.vision.tuning")
class TrunkOfRun:
    """The trunk of a finished run of vision, as it is evaluated: averaged where the run has averages.

    Its recipe is read at once and its arrays when they are asked for, each straight to where it is to be: no
    device is touched before the trainer chooses them, and no decoder or queue is read.

    Args:
      run_dir: the run.
      step: its checkpoint; the best or the newest when None.
    """

    def __init__(self, run_dir: str = gin.REQUIRED, step: int | None = None):
        self._directory, self._step = RunDirectory(run_dir), step
        if not self._directory.path.is_dir():
            raise UserError(f"there is no run directory {run_dir}; name one by --gin.TrunkOfRun.run_dir=DIR")
        if not self._directory.recipe.is_file():
            raise UserError(f"{run_dir} has no recipe.gin, which says what model it is; bring it back")
        if not checkpoint_files.committed_steps(self._directory.checkpoints):
            raise UserError(f"no checkpoint in {self._directory.checkpoints}; train it first")

    @functools.cached_property
    def _workload(self) -> Any:
        recipe = recipes.load([self._directory.recipe], function=TRAIN)
        workload = opening.workload_of(recipe, self._directory, "vision")
        if getattr(workload, "model", None) is None:
            raise UserError(f"{self._directory.path} has no trunk: it restores pictures")
        return workload

    @property
    def config(self) -> TrunkConfig:
        """The shape."""
        return self._workload.model

    def restore(self, shardings: Tree) -> Tree:
        """{"trunk", "main"}, fp32, where they are to be.

        Raises:
          UserError: the checkpoint is damaged, or is not of this shape.
        """
        where = self._workload.trunk_entry
        shapes = jax.eval_shape(self.config.init, jax.random.key(0))
        with Checkpoints(self._directory.checkpoints, read_only=True) as checkpoints:
            step, _ = checkpoints.newest_sound(self._step or self._best(checkpoints))

            def read(path: tuple, shape: jax.ShapeDtypeStruct, sharding: Any) -> jax.Array:
                name = jax.tree_util.keystr(path, simple=True, separator="/")
                wanted = jax.ShapeDtypeStruct(shape.shape, shape.dtype, sharding=sharding)
                return checkpoints.read_array(step, f"{where}/{name}", wanted)

            return jax.tree_util.tree_map_with_path(read, shapes, shardings)

    def _best(self, checkpoints: Checkpoints) -> int | None:
        best = best_step.read(self._directory)
        return (
            best.step
            if best and best.step in checkpoint_files.committed_steps(checkpoints.directory)
            else None
        )
