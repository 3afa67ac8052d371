"""Fields that are not there yet: enough of them for a layout to be planned and a step to be compiled."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from data_pipelines.fields.grid import Grid
from data_pipelines.fields.statistics import Statistics
from data_pipelines.fields.variables import FieldNames
from pangu_jax.workloads import Source, TrainStream
from pangu_jax.workloads.science.data import FieldData, NoFields
from pangu_jax.workloads.science.model.earth import EarthConfig


@dataclass(frozen=True)
class PlannedFields(NoFields):
    """The model's shape, in units of 1; `asked` is what the recipe names and is not there."""

    asked: Any = None

    def train_source(self, batch_size: int, seed: int, shift: int = 0) -> TrainStream:
        """DataError: there is no store."""
        return self.asked.train_source(batch_size, seed, shift)

    def validation_sources(self, batch_size: int) -> dict[str, Source]:
        """Likewise."""
        return self.asked.validation_sources(batch_size)


def is_there(data: FieldData) -> bool:
    """Whether states can be read: of a store that a recipe names and that is missing they cannot."""
    path = getattr(data, "path", None)
    return path is None or ":" in path or Path(path).exists()


def fields(model: EarthConfig, data: Any) -> PlannedFields:
    """What a model needs to know of fields of its own shape.

    Args:
      model: the network's shape.
      data: a `FieldSet` without a store; the variables that it asks for, where it does, have these names.
    """
    numbers = {"upper": model.upper, "surface": model.surface, "constants": model.constants}
    names = {
        name: getattr(data, name, None) or tuple(f"{name}{n}" for n in range(count))
        for name, count in numbers.items()
    }
    grid = Grid(
        np.linspace(90, -90, model.latitude),
        np.arange(model.longitude) * 360 / model.longitude,
        np.linspace(1000, 50, model.levels),
        periodic=model.periodic,
    )
    upper, surface = np.ones((model.levels, model.upper)), np.ones(model.surface)
    unit = Statistics(0 * upper, upper, 0 * surface, surface)
    constants_HxWxK = np.zeros((model.latitude, model.longitude, model.constants), np.float32)
    return PlannedFields(
        grid, FieldNames(**names), data.lead_hours, data.steps, unit, unit, constants_HxWxK,
        asked=data,
    )  # fmt: skip
