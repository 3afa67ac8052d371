"""A classifier that lies in a run directory, as a teacher."""

import gin

from pangu_jax.apps.vision.tuning.stored_run import StoredRun
from pangu_jax.workloads import Variables
from pangu_jax.workloads.vision.classifier import PictureClassifier


@gin.configurable(module="pangu_jax.apps.vision.tuning")
class TeacherOfRun:
    """The classifier of a finished run: one of `tuning/pictures.gin`, distilled, elastic or extracted.

    Args:
      run_dir: the run.
      step: its checkpoint; the best or the newest when None.
    """

    def __init__(self, run_dir: str = gin.REQUIRED, step: int | None = None):
        self._run = StoredRun(run_dir, step, "TeacherOfRun.run_dir")

    @property
    def workload(self) -> PictureClassifier:
        """See `Teacher`."""
        return self._run.classifier

    @property
    def named(self) -> str:
        """See `Teacher`."""
        return f"the teacher {self._run.directory.path}"

    def restore(self, shardings: Variables) -> Variables:
        """See `Teacher`. UserError where the checkpoint is damaged, or of other classes."""
        return self._run.variables(shardings)
