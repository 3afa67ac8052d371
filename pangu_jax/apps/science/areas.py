"""Parts of the globe, and how much each cell of a grid counts in a mean over one.

Weights and boxes are WeatherBench 2's: a cell counts by its area between bounds midway to the next
latitudes (and out to the poles), a box holds the cells whose centres lie in it.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from pangu_jax.errors import UserError, suggestion

Range = tuple[float, float]
EVERYWHERE: Range = (-90.0, 90.0)
AROUND: Range = (0.0, 360.0)


class Box(NamedTuple):
    """Ranges of latitude, and of longitude from west to east, in degrees, both ends within."""

    latitudes: tuple[Range, ...] = (EVERYWHERE,)
    longitude: Range = AROUND


REGIONS: dict[str, Box] = {
    "global": Box(),
    "tropics": Box(((-20, 20),)),
    "extra-tropics": Box(((-90, -20), (20, 90))),
    "northern-hemisphere": Box(((20, 90),)),
    "southern-hemisphere": Box(((-90, -20),)),
    "europe": Box(((35, 75),), (347.5, 42.5)),
    "north-america": Box(((25, 60),), (240, 285)),
    "north-atlantic": Box(((25, 65),), (290, 350)),
    "north-pacific": Box(((25, 60),), (145, 230)),
    "east-asia": Box(((25, 60),), (102.5, 150)),
    "ausnz": Box(((-45, -12.5),), (120, 175)),
    "arctic": Box(((60, 90),)),
    "antarctic": Box(((-90, -60),)),
}


class Area(NamedTuple):
    """Cells of a grid, and the share of each in a mean.

    Attributes:
      cells_C: places in a flattened field [H * W], int64; None for all of them in their order.
      weights_C: float64, sum 1.
    """

    cells_C: np.ndarray | None
    weights_C: np.ndarray

    def mean(self, fields_NxC: np.ndarray) -> np.ndarray:
        """Means of flattened fields, float64 [N]; NaN where a cell of the area is."""
        if self.cells_C is not None:
            fields_NxC = fields_NxC[:, self.cells_C]
        return fields_NxC @ self.weights_C


def cell_weights(latitude_H: np.ndarray) -> np.ndarray:
    """Weight of each latitude's cells by their area, mean 1, float64; degrees, in either order."""
    bounds = np.sin(np.deg2rad((latitude_H[:-1] + latitude_H[1:]) / 2))
    north = np.sign(latitude_H[-1] - latitude_H[0]) if len(latitude_H) > 1 else 1.0
    areas = np.abs(np.diff(np.concatenate([[-north], bounds, [north]])))
    return areas / areas.mean()


def area(
    latitude_H: np.ndarray,
    longitude_W: np.ndarray,
    region: str = "global",
    there_HxW: np.ndarray | None = None,
) -> Area:
    """The cells of a region.

    Args:
      latitude_H: degrees, ascending or descending.
      longitude_W: degrees.
      region: a name of REGIONS.
      there_HxW: bool, cells that may count; all when None.

    Raises:
      UserError: no such region, or no cell of the grid is in it.
    """
    weights_H = cell_weights(np.asarray(latitude_H, np.float64))
    weights_HxW = np.repeat(weights_H[:, None], len(longitude_W), 1)
    inside_HxW = cells(latitude_H, longitude_W, region)
    if there_HxW is not None:
        inside_HxW = inside_HxW & there_HxW
    if not inside_HxW.any():
        raise UserError(f"region {region!r}: no cell of the grid is in it: leave it out")
    cells_C = None if inside_HxW.all() else np.flatnonzero(inside_HxW)
    weights_C = weights_HxW.ravel() if cells_C is None else weights_HxW.ravel()[cells_C]
    return Area(cells_C, weights_C / weights_C.sum())


def present(latitude_H: np.ndarray, longitude_W: np.ndarray, names: Sequence[str]) -> list[str]:
    """Those of some regions that have cells on a grid."""
    return [name for name in names if cells(latitude_H, longitude_W, name).any()]


def cells(latitude_H: np.ndarray, longitude_W: np.ndarray, region: str) -> np.ndarray:
    """Which cells of a grid are in a region, bool [H, W]; UserError where there is no such region."""
    if region not in REGIONS:
        raise UserError(
            f"region {region!r} is none of {', '.join(REGIONS)}{suggestion(region, tuple(REGIONS))}"
        )
    box = REGIONS[region]
    latitude_H = np.asarray(latitude_H, np.float64)
    rows_H = np.any([(low <= latitude_H) & (latitude_H <= high) for low, high in box.latitudes], 0)
    if box.longitude == AROUND:
        columns_W = np.ones(len(longitude_W), bool)
    else:
        west, east = box.longitude
        columns_W = (np.asarray(longitude_W, np.float64) - west) % 360 <= (east - west) % 360
    return rows_H[:, None] & columns_W
