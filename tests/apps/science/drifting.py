"""Waves that move eastward on a small grid, and a tiny model of them."""

import numpy as np

from data_pipelines.fields.grid import Grid
from data_pipelines.fields.variables import FieldNames

GRID = Grid(np.linspace(78.75, -78.75, 8), np.arange(16) * 22.5, np.array([850.0, 500.0]))
NAMES = FieldNames(("t", "u", "v"), ("sp",))
RECIPE = """
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

ForecastModel.model = @EarthTransformer()
ForecastModel.data = @fields()
ForecastModel.targets = 'increment'

EarthTransformer.levels = 2
EarthTransformer.latitude = 8
EarthTransformer.longitude = 16
EarthTransformer.upper = 3
EarthTransformer.surface = 1
EarthTransformer.constants = 0
EarthTransformer.patch = (1, 2, 2)
EarthTransformer.window = (2, 2, 4)
EarthTransformer.dims = (16, 16)
EarthTransformer.heads = (2, 2)
EarthTransformer.depths = (2, 2, 2, 2)
EarthTransformer.norm = 'pre'
EarthTransformer.drop_path = 0.0

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
    upper = np.stack([np.stack([one + level + rng.normal(0, 0.5, wave.shape) for level in range(2)]) for one in fields], -1)
    surface = 1e5 + 500 * wave + rng.normal(0, 20, wave.shape)
    return upper.astype(np.float32), surface[..., None].astype(np.float32)
