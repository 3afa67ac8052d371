"""Where a field's numbers lie: levels, latitudes from north to south, longitudes from Greenwich eastward."""

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np

from data_pipelines.errors import DataError

LevelUnits = Literal["hPa", "1"]
CLOSE = 1e-3  # degrees: coordinates in fp32 differ by less


@dataclasses.dataclass(frozen=True, eq=False)
class Grid:
    """A grid of latitudes and longitudes on levels; float64.

    Attributes:
      latitude_H: degrees, from north to south.
      longitude_W: degrees from 0 to below 360, ascending; of a part of the globe that holds Greenwich, from
        its western edge on, below 0 there.
      level_L: of the upper air, in the order of the store.
      level_units: "hPa" for pressure, "1" for sigma (pressure over the surface's).
      periodic: whether the last longitude is beside the first.

    Raises:
      DataError: coordinates that are no numbers, latitudes that do not descend, longitudes that do not
        ascend, or go around the globe more than once, or not all around though they should.
    """

    latitude_H: np.ndarray
    longitude_W: np.ndarray
    level_L: np.ndarray
    level_units: LevelUnits = "hPa"
    periodic: bool = True

    def __post_init__(self):
        for name in ("latitude_H", "longitude_W", "level_L"):
            values = np.asarray(getattr(self, name), np.float64)
            if values.ndim != 1 or not np.isfinite(values).all():
                raise DataError(f"a grid's {name[:-2]}s must be a row of numbers")
            object.__setattr__(self, name, values)
        if not (np.diff(self.latitude_H) < 0).all() or np.abs(self.latitude_H).max(initial=0) > 90 + CLOSE:
            raise DataError("a grid's latitudes must run from north to south, between 90 and -90")
        if not (np.diff(self.longitude_W) > 0).all():
            raise DataError("a grid's longitudes must ascend")
        if len(self.longitude_W) < 2:
            return
        steps, seam = np.diff(self.longitude_W), 360 - (self.longitude_W[-1] - self.longitude_W[0])
        if seam < CLOSE:
            raise DataError(
                "a grid's longitudes go around the globe and more: is the first column there twice?"
            )
        if self.periodic and seam > 1.5 * steps.max() + CLOSE:
            raise DataError(
                "a grid that goes around the globe has longitudes all around, not "
                f"{self.longitude_W[0]:g} to {self.longitude_W[-1]:g}"
            )

    @property
    def shape(self) -> tuple[int, int, int]:
        """Levels, latitudes, longitudes."""
        return len(self.level_L), len(self.latitude_H), len(self.longitude_W)

    @property
    def weights_H(self) -> np.ndarray:
        """Weight of a latitude's cells, mean 1: their area, between bounds midway to the next latitude.

        The outermost reach to the pole where it is less than a step away (WeatherBench 2, arXiv 2308.15560);
        on a part of the globe they are as high as wide to the other side, or one row would have all weight.
        """
        latitude = self.latitude_H
        steps = -np.diff(latitude) if len(latitude) > 1 else np.array([180.0])
        north = 90.0 if 90 - latitude[0] < steps[0] else latitude[0] + steps[0] / 2
        south = -90.0 if latitude[-1] + 90 < steps[-1] else latitude[-1] - steps[-1] / 2
        bounds = np.deg2rad(np.concatenate([[north], (latitude[:-1] + latitude[1:]) / 2, [south]]))
        areas = np.sin(bounds[:-1]) - np.sin(bounds[1:])
        return areas / areas.mean()

    @property
    def symmetric(self) -> bool:
        """Whether both hemispheres have the same latitudes."""
        return np.allclose(self.latitude_H, -self.latitude_H[::-1], atol=CLOSE)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Grid) or self.shape != other.shape:
            return False
        pairs = ((getattr(self, n), getattr(other, n)) for n in ("latitude_H", "longitude_W", "level_L"))
        same = all(np.allclose(mine, theirs, rtol=0, atol=CLOSE) for mine, theirs in pairs)
        return same and (self.level_units, self.periodic) == (other.level_units, other.periodic)

    def __hash__(self) -> int:
        return hash((self.shape, self.level_units, self.periodic))

    def differs(self, other: "Grid") -> str:
        """How another grid differs, for people; "" where it does not."""
        if self == other:
            return ""
        for name, unit in (("latitude_H", "latitudes"), ("longitude_W", "longitudes"), ("level_L", "levels")):
            mine, theirs = getattr(self, name), getattr(other, name)
            if len(mine) != len(theirs):
                return f"{len(theirs)} {unit} where {len(mine)} are needed"
            if not np.allclose(mine, theirs, rtol=0, atol=CLOSE):
                at = int(np.argmax(np.abs(mine - theirs)))
                return f"{unit} such as {theirs[at]:g} where {mine[at]:g} is needed"
        if self.level_units != other.level_units:
            return f"levels in units of {other.level_units} where {self.level_units} is needed"
        return "longitudes that go around the globe in one and not in the other"

    def levels(self, chosen: tuple[float, ...]) -> list[int]:
        """Places of some levels; DataError where one is not there, or is asked for twice."""
        places: list[int] = []
        for level in chosen:
            near = np.flatnonzero(np.isclose(self.level_L, level, rtol=0, atol=CLOSE))
            if not len(near):
                there = ", ".join(f"{one:g}" for one in self.level_L)
                raise DataError(f"level {level:g} is not there; there are {there} ({self.level_units})")
            places.append(int(near[0]))
        if len(set(places)) < len(places):
            raise DataError(f"levels {', '.join(f'{one:g}' for one in chosen)}: each can be taken once")
        return places

    def to_json(self) -> dict[str, Any]:
        """As plain numbers and strings."""
        return {
            "latitude": self.latitude_H.tolist(),
            "longitude": self.longitude_W.tolist(),
            "level": self.level_L.tolist(),
            "level_units": self.level_units,
            "periodic": self.periodic,
        }

    @classmethod
    def from_json(cls, kept: Mapping[str, Any]) -> "Grid":
        """The inverse of `to_json`; KeyError, ValueError or DataError for what is no grid."""
        units: LevelUnits = "1" if kept["level_units"] == "1" else "hPa"
        latitude_H, longitude_W, level_L = (
            np.asarray(kept[name], np.float64) for name in ("latitude", "longitude", "level")
        )
        return cls(latitude_H, longitude_W, level_L, units, bool(kept["periodic"]))
