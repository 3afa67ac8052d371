"""The pictures that a run is measured on: its own, unless the recipe names others."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pangu_jax import recipes
from pangu_jax.recipes import Recipe
from pangu_jax.recipes.functions import TRAIN

IMAGES = "data_pipelines.images.images.images"
OF_THE_SET = ("path", "image_field", "label_field", "group_field", "validation_fraction")
OF_THE_MODEL = ("size", "mode", "max_pixels", "cache_dir")


def bindings(run_dir: str, files: Sequence[str], given: Sequence[str]) -> list[str]:
    """ "images.NAME=VALUE" of the run's own recipe, to go before what is given on the command line.

    What the recipes or the command line set stays; a set that they name brings its own columns.

    Args:
      run_dir: the run; [] where it has no recipe, which is told when it is opened.
      files: recipes.
      given: "NAME=VALUE" each.
    """
    own = Path(run_dir, "recipe.gin")
    if not own.is_file():
        return []
    asked = recipes.load(files, given).bound_parameters(IMAGES)
    names = OF_THE_MODEL if "path" in asked else OF_THE_SET + OF_THE_MODEL
    found = _of_run(recipes.load([own], function=TRAIN))
    return [f"images.{name}={found[name]!r}" for name in names if name in found and name not in asked]


def _of_run(recipe: Recipe) -> dict[str, Any]:
    """What the run's recipe says of its pictures, whether it learnt from all their labels or from a few."""
    if not recipe.bound_parameters(IMAGES):  # a run of other data
        return {}
    arguments = recipe.arguments(IMAGES)
    # An imported model's recipe has an empty path.
    return {name: arguments[name] for name in OF_THE_SET + OF_THE_MODEL if arguments.get(name)}
