"""Waves that move eastward on a small grid, and a model with a number for each variable."""

from dataclasses import dataclass

import gin
import jax.numpy as jnp
import numpy as np

from data_pipelines.fields.grid import Grid
from data_pipelines.fields.variables import FieldNames
from pangu_jax.workloads.science.model.earth import EarthConfig

GRID = Grid(np.linspace(78.75, -78.75, 8), np.arange(16) * 22.5, np.array([850.0, 500.0]))
NAMES = FieldNames(("t", "u", "v"), ("sp",))


@gin.configurable
@dataclass(frozen=True)
class Drift(EarthConfig):
    """What it is off by from its neighbour in the west, times a number: the sizes are EarthTransformer's."""

    def init(self, key):
        del key
        return {"upper": jnp.full(self.upper, 0.1), "surface": jnp.full(self.surface, 0.1)}

    def axes(self):
        return {"upper": (None,), "surface": (None,)}

    def forward(self, placement, remat, dtype):
        del placement, remat, dtype

        def forward(params, upper, surface, constants, keys):
            del constants, keys
            return tuple(
                params[name] * (jnp.roll(part, 1, axis=-2) - part)
                for name, part in (("upper", upper), ("surface", surface))
            )

        return forward


RECIPE = """
import tests.apps.science.drifting
import data_pipelines.fields.field_set
import pangu_jax.workloads.science

train.workload = @ForecastModel()
train.optimizer = @adamw()
train.steps = 4
train.batch_size = 8
train.log_every = 2
train.validate_every = 4
train.checkpoint_every = 4

adamw.schedule = @cosine_schedule()
cosine_schedule.steps = 4
cosine_schedule.learning_rate = 1e-3

ForecastModel.model = @Drift()
ForecastModel.data = @fields()
ForecastModel.targets = 'increment'

Drift.levels = 2
Drift.latitude = 8
Drift.longitude = 16
Drift.upper = 3
Drift.surface = 1
Drift.constants = 0
Drift.patch = (1, 2, 2)
Drift.window = (2, 2, 4)
Drift.dims = (16, 16)
Drift.heads = (2, 2)
Drift.depths = (2, 2, 2, 2)
Drift.norm = 'pre'
Drift.drop_path = 0.0

fields.lead_hours = 12
fields.validation = 0.3
fields.gap_hours = 24
fields.validation_windows = 5
"""


def state(place):
    """Upper float32 [L, H, W, U] and surface [H, W, S] at a place of the store."""
    rng = np.random.default_rng(place)
    phase = np.deg2rad(GRID.longitude_W)[None, :] - 0.2 * place
    wave = np.cos(np.deg2rad(GRID.latitude_H))[:, None] * np.sin(2 * phase)
    fields = [280 + 10 * wave, 10 + 5 * wave, 5 * np.roll(wave, 4, 1)]
    upper = np.stack(
        [np.stack([one + level + rng.normal(0, 0.5, wave.shape) for level in range(2)]) for one in fields], -1
    )
    surface = 1e5 + 500 * wave + rng.normal(0, 20, wave.shape)
    return upper.astype(np.float32), surface[..., None].astype(np.float32)
