"""A trunk that lies in a run directory."""

import functools
from typing import Any

import gin
import jax

from pangu_jax.apps.vision.tuning.stored_run import StoredRun, placed
from pangu_jax.errors import UserError
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

    classes: tuple[str, ...] = ()  # its head, where it has one, stays behind

    def __init__(self, run_dir: str = gin.REQUIRED, step: int | None = None):
        self._run = StoredRun(run_dir, step, "TrunkOfRun.run_dir")

    @functools.cached_property
    def _workload(self) -> Any:
        if getattr(self._run.workload, "model", None) is None:
            raise UserError(
                f"{self._run.directory.path} has no trunk to take over: name a run that was pre-trained "
                "(vision/small.gin) or that tells classes apart"
            )
        return self._run.workload

    @property
    def config(self) -> TrunkConfig:
        """The shape."""
        return self._workload.model

    def restore(self, shardings: Tree) -> Tree:
        """{"trunk", "main"}, fp32, where they are to be.

        Raises:
          UserError: the checkpoint is damaged, or is not of this shape.
        """
        wanted = placed(jax.eval_shape(self.config.init, jax.random.key(0)), shardings)
        with self._run.checkpoint() as stored:
            return stored.checkpoints.read_below(stored.step, self._workload.trunk_entry, wanted)
