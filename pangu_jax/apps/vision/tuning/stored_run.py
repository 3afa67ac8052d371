"""A finished run of vision that a recipe names: what it is at once, its arrays when they are asked for."""

import functools
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import jax

from pangu_jax import recipes
from pangu_jax.errors import UserError
from pangu_jax.recipes.functions import TRAIN
from pangu_jax.runs import best_step, checkpoint_files, opening
from pangu_jax.runs.checkpoints import Checkpoints
from pangu_jax.runs.run_directory import RunDirectory
from pangu_jax.workloads import NOTHING, Tree, Variables
from pangu_jax.workloads.vision.classifier import PictureClassifier


class StoredRun:
    """A run directory with a checkpoint. No device is touched before arrays are read.

    Args:
      run_dir: the run.
      step: its checkpoint; the best or the newest when None.
      named_by: the parameter of a recipe that names it, for messages.

    Raises:
      UserError: there is no such run, or it has no recipe or no checkpoint.
    """

    def __init__(self, run_dir: str, step: int | None, named_by: str):
        self.directory, self._step = RunDirectory(run_dir), step
        if not self.directory.path.is_dir():
            raise UserError(f"there is no run directory {run_dir}; name one by --gin.{named_by}=DIR")
        if not self.directory.recipe.is_file():
            raise UserError(f"{run_dir} has no recipe.gin, which says what model it is; bring it back")
        if not checkpoint_files.committed_steps(self.directory.checkpoints):
            raise UserError(f"no checkpoint in {self.directory.checkpoints}; train it first")

    @functools.cached_property
    def workload(self) -> Any:
        """What it trained, without its pictures."""
        recipe = recipes.load([self.directory.recipe], function=TRAIN)
        return opening.workload_of(recipe, self.directory, "vision")

    @property
    def classifier(self) -> PictureClassifier:
        """The same; UserError where it is none."""
        if not isinstance(self.workload, PictureClassifier):
            raise UserError(
                f"{self.directory.path} tells no classes apart: teach it some by `pangu tune --gin_file "
                "tuning/pictures.gin`, and name that run"
            )
        return self.workload

    @contextmanager
    def checkpoint(self) -> Generator[tuple[Checkpoints, int]]:
        """Its checkpoints, to be read while the context lasts, and the step that counts."""
        with Checkpoints(self.directory.checkpoints, read_only=True) as checkpoints:
            yield checkpoints, checkpoints.newest_sound(self._step or self._best())[0]

    def variables(self, shardings: Variables) -> Variables:
        """Parameters and extra state, fp32, where they are to be.

        Raises:
          UserError: the checkpoint is damaged, or of another shape or of other classes.
        """
        workload = self.workload
        shapes = jax.eval_shape(workload.start, jax.random.key(0), workload.given())
        wanted = Variables(*map(_placed, shapes[:2], shardings[:2]))
        entries = {"params": wanted.params, "extra": wanted.extra}
        entries = {name: tree for name, tree in entries.items() if jax.tree.leaves(tree)}
        with self.checkpoint() as (checkpoints, step):
            found, _ = checkpoints.restore_entries(entries, step, workload.fingerprint())
        return Variables(found["params"], found.get("extra", NOTHING))

    def _best(self) -> int | None:
        best = best_step.read(self.directory)
        there = checkpoint_files.committed_steps(self.directory.checkpoints)
        return best.step if best and best.step in there else None


def _placed(shapes: Tree, shardings: Tree) -> Tree:
    return jax.tree.map(
        lambda shape, sharding: jax.ShapeDtypeStruct(shape.shape, shape.dtype, sharding=sharding),
        shapes,
        shardings,
    )
