"""Rows and columns of a file, by their coordinates, to those of a grid: never by position.

Latitudes to north-to-south, longitudes to 0..360 and ascending (a region that holds Greenwich from its
western edge on); a column that stands twice, as 180 and -180 or 0 and 360, once.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from data_pipelines.errors import DataError
from data_pipelines.fields.grid import CLOSE, Grid, LevelUnits

SEAM = 0.25  # of what neighbouring columns differ by: interpolated fields are not quite alike at 180 and -180
GAP = 1.5  # times the widest other distance: columns farther apart than that are the two edges of a region


class FilePlacement(NamedTuple):
    """Where a file's rows and columns go.

    Attributes:
      latitude_H: from north to south.
      longitude_W: ascending.
      periodic: whether the last longitude is beside the first.
      rows_H: the file's row of each latitude.
      columns_W: the file's column of each longitude.
      seam: pairs of the file's columns that are at one place: (kept, left out).
    """

    latitude_H: np.ndarray
    longitude_W: np.ndarray
    periodic: bool
    rows_H: np.ndarray
    columns_W: np.ndarray
    seam: tuple[tuple[int, int], ...]

    def grid(self, levels: Sequence[float], units: LevelUnits) -> Grid:
        """With levels, a grid."""
        return Grid(self.latitude_H, self.longitude_W, np.asarray(levels), units, self.periodic)

    def apply(self, fields: np.ndarray, where: str) -> np.ndarray:
        """Fields [..., rows, columns] of the file as [..., H, W].

        Raises:
          DataError: a column that stands twice has two values.
        """
        for kept, left_out in self.seam:
            if not _same(fields, kept, left_out):
                raise DataError(
                    f"{where}: columns {kept} and {left_out} are at the same longitude and differ: one of "
                    "them is wrong"
                )
        if not self.moved:
            return fields
        return fields[..., self.rows_H[:, None], self.columns_W]

    @property
    def moved(self) -> bool:
        """Whether anything is not where it was."""
        return bool(
            self.seam
            or (np.diff(self.rows_H) != 1).any()
            or self.rows_H[0]
            or (np.diff(self.columns_W) != 1).any()
            or self.columns_W[0]
        )


def _same(fields: np.ndarray, one: int, other: int) -> bool:
    """Whether two columns are of one place: missing where the other is, and near it against neighbours."""
    mine, theirs = fields[..., one], fields[..., other]
    if (np.isnan(mine) != np.isnan(theirs)).any():
        return False
    between = np.abs(mine.astype(np.float64) - theirs)
    if not np.nanmax(between, initial=0):
        return True
    neighbours = np.abs(np.diff(fields.astype(np.float64), axis=-1))
    return bool(np.nanmean(between) <= SEAM * np.nanmean(neighbours))


def placement(latitude: Sequence[float], longitude: Sequence[float], where: str) -> FilePlacement:
    """By a file's coordinates.

    Raises:
      DataError: coordinates that are none, twice the same latitude, or two seams.
    """
    latitudes, longitudes = np.asarray(latitude, np.float64), np.asarray(longitude, np.float64)
    if not np.isfinite(latitudes).all() or not np.isfinite(longitudes).all() or not latitudes.size:
        raise DataError(f"{where}: latitudes or longitudes are missing")
    if np.abs(latitudes).max() > 90 + CLOSE:
        raise DataError(f"{where}: latitudes up to {np.abs(latitudes).max():g} degrees are none")
    rows = np.argsort(-latitudes, kind="stable")
    if (np.diff(latitudes[rows]) > -CLOSE / 10).any():
        raise DataError(f"{where}: a latitude stands twice")
    wrapped = np.mod(longitudes, 360.0)
    wrapped[wrapped > 360 - CLOSE / 10] = 0.0
    columns = np.argsort(wrapped, kind="stable")
    same = np.flatnonzero(np.diff(wrapped[columns]) < CLOSE / 10)
    if len(same) > 1:
        raise DataError(f"{where}: {len(same)} longitudes stand twice")
    seam = tuple((int(columns[at]), int(columns[at + 1])) for at in same)
    columns = np.delete(columns, same + 1)
    ascending = wrapped[columns]
    if len(columns) == 1:
        return FilePlacement(latitudes[rows], ascending, False, rows, columns, seam)
    distances = np.diff(np.append(ascending, ascending[0] + 360))
    widest = int(distances.argmax())
    others = np.delete(distances, widest)
    periodic = bool(distances[widest] <= GAP * others.max())
    if not periodic and widest != len(columns) - 1:
        # A region that holds Greenwich: from its western edge, below 0, on.
        ascending = np.concatenate([ascending[widest + 1 :] - 360, ascending[: widest + 1]])
        columns = np.concatenate([columns[widest + 1 :], columns[: widest + 1]])
    return FilePlacement(latitudes[rows], ascending, periodic, rows, columns, seam)
