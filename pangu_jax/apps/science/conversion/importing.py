"""From Pangu-Weather of another library to a run directory: recipe, fields, and a checkpoint of step 0."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax

from pangu_jax import recipes
from pangu_jax.apps.science.conversion import mfai, released
from pangu_jax.apps.science.conversion.source import AskedFields, ImportableForecast
from pangu_jax.errors import UserError
from pangu_jax.recipes import functions
from pangu_jax.runs.checkpoints import Checkpoints
from pangu_jax.runs.exchange import folders, parts
from pangu_jax.runs.run_directory import RunDirectory
from pangu_jax.workloads.science import stored_fields
from pangu_jax.workloads.science.scales import Scales

KEY = "imported"  # of the manifest: what an export needs to give back what was there
FORMATS: dict[str, Callable[[Path, AskedFields], ImportableForecast]] = {
    "mfai": mfai.examine,
    "onnx": released.examine,
}

RECIPE = """\
import data_pipelines.fields.field_set
import pangu_jax.workloads.science

train.workload = @ForecastModel()
train.optimizer = @adamw()
train.steps = 1000
train.batch_size = 8
ForecastModel.model = @EarthTransformer()
ForecastModel.data = @fields()
ForecastModel.targets = 'state'
{fields}
{model}
"""


def import_weather(name: str, source: str | Path, run_dir: str | Path, asked: AskedFields) -> dict[str, Any]:
    """Make a run directory of weights of Pangu-Weather.

    Parameters keep their dtype.

    Args:
      name: of the format, one of `FORMATS`.
      source: a state of mfai's PanguWeather, or a released .onnx.
      run_dir: a new folder; there whole or not at all.
      asked: the store that says the grid, and what nothing in the weights does.
    Returns:
      {"run_dir", "kind", "parameters", "bytes", "dtypes", "grid", "lead_hours", "notes"}.
    Raises:
      UserError, DataError: the source is no such model, the store does not fit it, or `run_dir` is taken.
    """
    source, run_dir = Path(source), Path(run_dir).absolute()
    folders.require_empty(run_dir, "--run_dir")
    if not source.exists():
        raise UserError(f"there is no {source}; name the file of a saved model")
    found = FORMATS[name](source, asked)
    sides = ("levels", "latitudes", "longitudes")
    grid = ", ".join(f"{size} {side}" for size, side in zip(found.config.sides, sides, strict=True))
    parts.require_same(found.tensors, found.table, f"a {found.kind} of {grid}")
    Scales.of(found.data.statistics, found.data.increments)  # refuses what divides by nothing
    with folders.made(run_dir, "--run_dir") as partial:
        directory = RunDirectory(partial)
        for file, contents in stored_fields.files(found.data).items():
            (partial / file).write_bytes(contents)
        recipe = _recipe(found, directory)
        params = _read(found)
        kept = {"format": name, "dtypes": _dtypes(found), **found.kept}
        with Checkpoints(directory.checkpoints) as checkpoints:
            checkpoints.save(0, {"params": params}, {"recipe": recipe, KEY: kept})
        leaves = jax.tree.leaves(params)
    return {
        "run_dir": str(run_dir),
        "kind": found.kind,
        "parameters": sum(leaf.size for leaf in leaves),
        "bytes": sum(leaf.nbytes for leaf in leaves),
        "dtypes": sorted({found.tensors.dtypes[each.name] for each in found.table}),
        "grid": grid,
        "lead_hours": asked.lead_hours,
        "notes": list(found.notes),
    }


def _read(found: ImportableForecast) -> parts.Tree:
    """Our parameters, of the dtypes that are there."""
    shapes = parts.by_path(jax.eval_shape(found.config.init, jax.random.key(0)))
    arrays = parts.read(found.tensors, found.table, {path: leaf.shape for path, leaf in shapes.items()})
    return parts.nested({path: jax.device_put(array) for path, array in arrays.items()})


def _dtypes(found: ImportableForecast) -> dict[str, str]:
    """Their dtypes, where they are not fp32."""
    names = (each.name for each in found.table)
    return {name: dtype for name in names if (dtype := found.tensors.dtypes[name]) != "F32"}


def _recipe(found: ImportableForecast, directory: RunDirectory) -> str:
    """The resolved recipe, written to the run directory."""
    chosen = [f"fields.{name} = {value!r}" for name, value in found.chosen.items()]
    shape = [
        f"EarthTransformer.{field.name} = {getattr(found.config, field.name)!r}"
        for field in dataclasses.fields(found.config)
    ]
    directory.write_recipe(RECIPE.format(fields="\n".join(chosen), model="\n".join(shape)))
    recipe = recipes.load([directory.recipe], function=functions.TRAIN)
    recipes.require_valid(recipe)
    resolved = recipes.dump(recipe)
    directory.write_recipe(resolved)
    return resolved
