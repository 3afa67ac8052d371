"""The pictures that a run is measured on: its own, unless the recipe names others."""

from collections.abc import Sequence

from pangu_jax.runs import data_of_run
from pangu_jax.runs.data_of_run import DataFunction

IMAGES = DataFunction(
    "data_pipelines.images.images.images",
    ("path", "image_field", "label_field", "group_field", "validation_fraction"),
    ("size", "mode", "max_pixels", "cache_dir"),
)


def bindings(run_dir: str, files: Sequence[str], given: Sequence[str]) -> list[str]:
    """ "images.NAME=VALUE" of the run's own recipe, see `data_of_run.bindings`."""
    return data_of_run.bindings(run_dir, files, given, IMAGES)
