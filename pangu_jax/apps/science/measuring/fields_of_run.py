"""The fields that a run is measured on: its own, unless the recipe names others."""

from collections.abc import Sequence

from pangu_jax.runs import data_of_run
from pangu_jax.runs.data_of_run import DataFunction

FIELDS = DataFunction(
    "data_pipelines.fields.field_set.fields",
    ("path", "validation", "gap_hours", "validation_windows"),
    ("lead_hours", "upper", "surface", "levels", "cache_dir"),
)


def bindings(run_dir: str, files: Sequence[str], given: Sequence[str]) -> list[str]:
    """ "fields.NAME=VALUE" of the run's own recipe, see `data_of_run.bindings`."""
    return data_of_run.bindings(run_dir, files, given, FIELDS)
