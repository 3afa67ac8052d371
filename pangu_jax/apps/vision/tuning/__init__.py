"""Teaching classes to the trunk of a finished run, or by it: `pangu tune` with a recipe that imports this."""

from pangu_jax.apps.vision.tuning.part_of_run import PartOfRun
from pangu_jax.apps.vision.tuning.teacher_of_run import TeacherOfRun
from pangu_jax.apps.vision.tuning.trunk_of_run import TrunkOfRun

__all__ = ["PartOfRun", "TeacherOfRun", "TrunkOfRun"]
