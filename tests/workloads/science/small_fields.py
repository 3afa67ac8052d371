"""A small atmosphere of noise: all that a forecast model asks of its fields, in memory."""

from dataclasses import dataclass, field
from types import SimpleNamespace

import numpy as np

from pangu_jax.workloads.science import ForecastModel
from pangu_jax.workloads.science.data import NoFields
from pangu_jax.workloads.science.model.earth import EarthConfig

LEVELS, LATITUDES, LONGITUDES = 3, 9, 32
UPPER, SURFACE, CONSTANTS = ("z", "t"), ("msl",), ("lsm",)
EARTH = EarthConfig(
    levels=LEVELS, latitude=LATITUDES, longitude=LONGITUDES, upper=len(UPPER), surface=len(SURFACE),
    constants=len(CONSTANTS), patch=(2, 2, 2), window=(2, 2, 4), dims=(16, 24), heads=(2, 2),
    depths=(2, 2, 2, 2), ratio=2.0, drop_path=0.0,
)  # fmt: skip


@dataclass(frozen=True)
class SmallGrid:
    """As `data_pipelines.fields.grid.Grid`."""

    latitude_H: np.ndarray = field(default_factory=lambda: np.linspace(90, -90, LATITUDES))
    longitude_W: np.ndarray = field(default_factory=lambda: np.arange(LONGITUDES) * 360 / LONGITUDES)
    level_L: np.ndarray = field(default_factory=lambda: np.array([850.0, 500.0, 200.0]))
    level_units: str = "hPa"
    periodic: bool = True

    @property
    def shape(self) -> tuple[int, int, int]:
        return len(self.level_L), len(self.latitude_H), len(self.longitude_W)

    @property
    def weights_H(self) -> np.ndarray:
        edges = np.concatenate([[90], (self.latitude_H[1:] + self.latitude_H[:-1]) / 2, [-90]])
        cells = -np.diff(np.sin(np.deg2rad(edges)))
        return cells / cells.mean()


def statistics(scale: float) -> SimpleNamespace:
    """Means and deviations that differ from each other."""
    rng = np.random.default_rng(int(scale))
    return SimpleNamespace(
        upper_mean_LxU=rng.normal(size=(LEVELS, len(UPPER))) * scale,
        upper_std_LxU=rng.uniform(0.5, 2, (LEVELS, len(UPPER))) * scale,
        surface_mean_S=rng.normal(size=len(SURFACE)) * scale,
        surface_std_S=rng.uniform(0.5, 2, len(SURFACE)) * scale,
    )


def fields(steps: int = 1, periodic: bool = True) -> NoFields:
    """What a model is made with."""
    return NoFields(
        SmallGrid(periodic=periodic),
        SimpleNamespace(upper=UPPER, surface=SURFACE, constants=CONSTANTS),
        24,
        steps,
        statistics(10.0),
        statistics(1.0),
        np.random.default_rng(1).normal(size=(LATITUDES, LONGITUDES, len(CONSTANTS))).astype(np.float32),
    )


def model(steps: int = 1, **changes) -> ForecastModel:
    """A tiny model."""
    return ForecastModel(**({"model": EARTH, "data": fields(steps), "rollout": steps} | changes))


def batch(size: int, steps: int = 1) -> dict[str, np.ndarray]:
    """`size` windows, the last of which only fills the batch up."""
    rng = np.random.default_rng(0)
    weight_B, numbers_B = np.ones(size, np.float32), np.arange(size, dtype=np.int32)
    weight_B[-1] = 0
    sides = (LEVELS, LATITUDES, LONGITUDES)
    return {
        "upper": (10 * rng.normal(size=(size, steps + 1, *sides, len(UPPER)))).astype(np.float32),
        "surface": (10 * rng.normal(size=(size, steps + 1, *sides[1:], len(SURFACE)))).astype(np.float32),
        "time": numbers_B,
        "place": numbers_B,
        "weight": weight_B,
        "task_id": np.zeros(size, np.int32),
    }
