"""Forecasts as WeatherBench 2's tools read them: Zarr 2, its names and dimensions, latitudes ascending."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from data_pipelines.fields.grid import Grid
from data_pipelines.fields.variables import FieldNames
from pangu_jax.apps.science.channels import long_name, units
from pangu_jax.apps.science.rolling import State
from pangu_jax.errors import UserError

DIMENSIONS = ("time", "prediction_timedelta", "level", "latitude", "longitude")
ON = "_ARRAY_DIMENSIONS"  # what xarray calls them in Zarr 2
HOURS = "hours since 1900-01-01"


class ForecastZarr:
    """Variables [time, prediction_timedelta, level, latitude, longitude], float32; time is of a start.

    They are written beside their place: what is not there yet would be read as missing.

    Args:
      path: where nothing may be yet.
      grid: of the forecasts.
      names: of their variables.
      leads: hours, ascending.

    Raises:
      UserError: something is there, or it cannot be written.
    """

    def __init__(self, path: str | Path, grid: Grid, names: FieldNames, leads: Sequence[int]):
        import zarr

        self._path = Path(path)
        self._half = self._path.with_name(self._path.name + ".partial")
        if self._path.exists():
            raise UserError(f"{path} is there already: name another place for the forecasts, or remove it")
        try:
            self._group: Any = zarr.open_group(str(self._half), mode="w", zarr_format=2)
        except OSError as error:
            raise UserError(f"{path} cannot be written: {error}") from None
        self._names, self._leads, self._count = names, list(leads), 0
        levels, latitudes, longitudes = grid.shape
        self._put(
            "time", np.zeros(0, np.int64), {"units": HOURS, "calendar": "proleptic_gregorian"}, chunk=1024
        )
        self._put(
            "prediction_timedelta",
            np.asarray(leads, np.int64),
            {"units": "hours", "dtype": "timedelta64[ns]"},
        )
        self._put("level", grid.level_L, {"units": grid.level_units})
        self._put(
            "latitude", grid.latitude_H[::-1].copy(), {"units": "degrees_north", "standard_name": "latitude"}
        )
        self._put("longitude", grid.longitude_W, {"units": "degrees_east", "standard_name": "longitude"})
        for name in (*names.upper, *names.surface):
            inner = (levels, latitudes, longitudes) if name in names.upper else (latitudes, longitudes)
            dimensions = DIMENSIONS if name in names.upper else (*DIMENSIONS[:2], *DIMENSIONS[3:])
            array = self._group.create_array(
                long_name(name), shape=(0, len(leads), *inner), chunks=(1, 1, *inner), dtype=np.float32,
                fill_value=np.nan,
            )  # fmt: skip
            array.attrs.update({ON: list(dimensions), "units": units(name)})

    def add(self, times_B: np.ndarray, lead: int, state: State) -> None:
        """Forecasts at a lead; those of the same times follow each other."""
        hours_B = (times_B - np.datetime64("1900-01-01T00", "h")).astype(np.int64)
        if lead == self._leads[0]:
            self._count += len(hours_B)
            self._group["time"].resize((self._count,))
            self._group["time"][-len(hours_B) :] = hours_B
        rows, at = slice(self._count - len(hours_B), self._count), self._leads.index(lead)
        for part, names in zip(state, (self._names.upper, self._names.surface), strict=True):
            for place, name in enumerate(names):
                array = self._group[long_name(name)]
                if array.shape[0] < self._count:
                    array.resize((self._count, *array.shape[1:]))
                array[rows, at] = part[..., place][..., ::-1, :]

    def finish(self) -> None:
        """All forecasts are there: they are put in their place."""
        import zarr

        zarr.consolidate_metadata(self._group.store, zarr_format=2)
        self._half.rename(self._path)

    def _put(
        self, name: str, values: np.ndarray, attributes: dict[str, str], chunk: int | None = None
    ) -> None:
        array = self._group.create_array(
            # A fill value of 0, the default, would be read as missing: the longitude 0, say.
            name,
            shape=values.shape,
            chunks=(chunk or max(1, len(values)),),
            dtype=values.dtype,
            fill_value=None,
        )
        array[:] = values
        array.attrs.update({ON: [name], **attributes})
