"""A finished run of vision that a recipe names: what it is at once, its arrays when they are asked for."""

import functools
from contextlib import AbstractContextManager

import jax

from pangu_jax.errors import UserError
from pangu_jax.runs import found_checkpoint, opening
from pangu_jax.runs.found_checkpoint import FoundCheckpoint
from pangu_jax.workloads import Tree, Variables, Workload
from pangu_jax.workloads.vision.classifier import PictureClassifier


class StoredRun:
    """A run directory with a checkpoint. No device is touched before arrays are read.

    Args:
      run_dir: the run.
      step: its checkpoint; the best or the newest when None.
      named_by: the parameter of a recipe that names it, for messages.

    Raises:
      UserError: there is no such run, or it has no checkpoint.
    """

    def __init__(self, run_dir: str, step: int | None, named_by: str):
        self.directory = found_checkpoint.require_run(run_dir, f"--gin.{named_by}=DIR")
        self._step = step

    @functools.cached_property
    def workload(self) -> Workload:
        """What it trained, without its pictures. UserError where it has no recipe or is of another family."""
        return opening.workload_of(opening.recipe_of(self.directory), self.directory, "vision")

    @property
    def classifier(self) -> PictureClassifier:
        """The same; UserError where it is none."""
        if not isinstance(self.workload, PictureClassifier):
            raise UserError(
                f"{self.directory.path} tells no classes apart: teach it some by `pangu tune --gin_file "
                "tuning/pictures.gin`, and name that run"
            )
        return self.workload

    def pinned(self) -> int:
        """The step of its checkpoint, which is the one from now on: the run may still be training."""
        with self.checkpoint() as stored:
            self._step = stored.step
        return self._step

    def checkpoint(self) -> AbstractContextManager[FoundCheckpoint]:
        """What is read, while the context lasts."""
        return found_checkpoint.find(self.directory, self._step)

    def variables(self, shardings: Variables) -> Variables:
        """Parameters and extra state, fp32, where they are to be.

        Raises:
          UserError: the checkpoint is damaged, or of another shape or of other classes.
        """
        workload = self.workload
        shapes = jax.eval_shape(workload.start, jax.random.key(0), workload.given())
        wanted = Variables(*(placed(*both) for both in zip(shapes[:2], shardings[:2], strict=True)))
        with self.checkpoint() as stored:
            return stored.variables(wanted, workload.fingerprint())[0]


def placed(shapes: Tree, shardings: Tree) -> Tree:
    """Abstract arrays, where they are to be."""
    return jax.tree.map(lambda shape, where: shape.update(sharding=where), shapes, shardings)
