"""What a run keeps of its fields beside its checkpoints: with it the run forecasts without its data."""

import dataclasses
import io
import json
from pathlib import Path
from typing import Any

import numpy as np

from data_pipelines.errors import DataError
from data_pipelines.fields.grid import Grid
from data_pipelines.fields.statistics import Statistics
from data_pipelines.fields.variables import FieldNames
from pangu_jax.errors import UserError
from pangu_jax.workloads.science.data import FieldData, NoFields, RunFields

FILE, CONSTANTS = "fields.json", "constants.npy"
NUMBERS = ("upper_mean_LxU", "upper_std_LxU", "surface_mean_S", "surface_std_S")


def files(data: FieldData) -> dict[str, bytes]:
    """Name -> contents: grid, names, lead and statistics; and the constants."""
    names = data.names
    kept = {
        "lead_hours": data.lead_hours,
        "steps": data.steps,
        "grid": data.grid.to_json(),
        "names": {"upper": names.upper, "surface": names.surface, "constants": names.constants},
        "statistics": _numbers(data.statistics),
        "increments": _numbers(data.increments),
    }
    if (height_L := getattr(data, "height_L", None)) is not None:
        kept["height"] = np.asarray(height_L).tolist()
    if getattr(data, "constants_as_read", False):
        kept["constants_as_read"] = True
    array = io.BytesIO()
    np.save(array, np.asarray(data.constants_HxWxK, np.float32), allow_pickle=False)
    return {FILE: (json.dumps(kept, indent=1) + "\n").encode(), CONSTANTS: array.getvalue()}


def opened(directory: Path) -> NoFields:
    """What is left of a run's fields.

    Raises:
      UserError: a file is missing or damaged.
    """
    try:
        kept = json.loads((directory / FILE).read_text("utf-8"))
        constants_HxWxK = np.load(directory / CONSTANTS, allow_pickle=False)
        return NoFields(
            Grid.from_json(kept["grid"]),
            FieldNames(**{name: tuple(own) for name, own in kept["names"].items()}),
            int(kept["lead_hours"]),
            int(kept["steps"]),
            Statistics.from_json(kept["statistics"]),
            Statistics.from_json(kept["increments"]),
            constants_HxWxK,
            np.asarray(kept["height"], np.float32) if "height" in kept else None,
            kept.get("constants_as_read") is True,
        )
    except (OSError, ValueError, KeyError, TypeError, DataError):
        raise UserError(
            f"{directory / FILE} is missing or damaged: run this run's `pangu train` again to get it back"
        ) from None


def with_windows(kept: NoFields, source: FieldData) -> RunFields:
    """A run's fields with windows of others.

    Raises:
      UserError: those are of another grid, or have other variables.
    """
    if differs := kept.grid.differs(source.grid):
        raise UserError(f"the run's fields are no longer there: the store has {differs}")
    for name in ("upper", "surface"):
        own, there = getattr(kept.names, name), getattr(source.names, name)
        if own != there:
            raise UserError(
                f"the run's fields are no longer there: fields.{name} are {', '.join(there)}, and the run "
                f"has {', '.join(own)}"
            )
    own = {field.name: getattr(kept, field.name) for field in dataclasses.fields(NoFields)}
    return RunFields(**own | {"steps": source.steps}, source=source)


def _numbers(statistics: Any) -> dict[str, Any]:
    return {name: np.asarray(getattr(statistics, name)).tolist() for name in NUMBERS}
