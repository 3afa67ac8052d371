"""A store of a few states, one time missing, that tests share."""

import numpy as np

from data_pipelines.fields.grid import Grid
from data_pipelines.fields.variables import FieldNames

GRID = Grid(np.array([60.0, 20.0, -20.0, -60.0]), np.arange(6) * 60.0, [850.0, 500.0])
NAMES = FieldNames(("u", "v"), ("msl",))
HOURS = np.datetime64("2020-01-01T00", "h") + 6 * np.delete(np.arange(41), 20)


def state(place: int) -> tuple[np.ndarray, np.ndarray]:
    """Noise of its own at each place."""
    rng = np.random.default_rng(place)
    return rng.normal(100, 5, (2, 4, 6, 2)).astype("f"), rng.normal(1e5, 300, (4, 6, 1)).astype("f")
