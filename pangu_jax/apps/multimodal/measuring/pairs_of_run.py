"""The pairs that a run is measured on: its own, unless the recipe names others."""

from collections.abc import Sequence

from pangu_jax.runs import data_of_run
from pangu_jax.runs.data_of_run import DataFunction

PAIRS = DataFunction(
    "data_pipelines.pairs.pairs.pairs",
    ("path", "captions", "validation", "validation_fraction", "least_count"),
    ("size", "mode", "length", "max_pixels", "cache_dir"),
)


def bindings(run_dir: str, files: Sequence[str], given: Sequence[str]) -> list[str]:
    """ "pairs.NAME=VALUE" of the run's own recipe, see `data_of_run.bindings`."""
    return data_of_run.bindings(run_dir, files, given, PAIRS)
