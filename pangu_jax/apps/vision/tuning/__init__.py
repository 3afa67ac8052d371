"""Teaching classes to the trunk of a finished run: `pangu tune` with a recipe that imports this."""

from pangu_jax.apps.vision.tuning.trunk_of_run import TrunkOfRun

__all__ = ["TrunkOfRun"]
