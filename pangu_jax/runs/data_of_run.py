"""The data that a run is measured on: its own, unless the recipe names others."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pangu_jax import recipes
from pangu_jax.recipes import Recipe
from pangu_jax.recipes.functions import TRAIN


class DataFunction(NamedTuple):
    """A function of recipes that gives data.

    Attributes:
      name: in full.
      of_the_set: parameters that belong to a path.
      of_the_model: those that a model asks of any data.
    """

    name: str
    of_the_set: tuple[str, ...]
    of_the_model: tuple[str, ...]


def bindings(run_dir: str, files: Sequence[str], given: Sequence[str], function: DataFunction) -> list[str]:
    """ "FUNCTION.NAME=VALUE" of the run's own recipe, to go before what is given on the command line.

    What the recipes or the command line set stays; a set that they name brings its own columns.

    Args:
      run_dir: the run; [] where it has no recipe, which is told when it is opened.
      files: recipes.
      given: "NAME=VALUE" each.
      function: that gives the data.
    """
    own = Path(run_dir, "recipe.gin")
    if not own.is_file():
        return []
    asked = recipes.load(files, given).bound_parameters(function.name)
    names = function.of_the_model if "path" in asked else function.of_the_set + function.of_the_model
    found = _of_run(recipes.load([own], function=TRAIN), function)
    short = function.name.rpartition(".")[2]
    return [f"{short}.{name}={found[name]!r}" for name in names if name in found and name not in asked]


def _of_run(recipe: Recipe, function: DataFunction) -> dict[str, Any]:
    """What the run's recipe says of its data, whichever of its workloads reads them."""
    if not recipe.bound_parameters(function.name):  # a run of other data
        return {}
    arguments = recipe.arguments(function.name)
    # An imported model's recipe has an empty path.
    return {
        name: arguments[name] for name in function.of_the_set + function.of_the_model if arguments.get(name)
    }
