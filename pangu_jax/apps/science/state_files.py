"""A state out of a file that xarray opens (NetCDF, GRIB, Zarr), on the model's grid by its coordinates."""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from data_pipelines.errors import DataError
from data_pipelines.fields.grid import CLOSE, Grid
from data_pipelines.fields.variables import FieldNames, known

Read = tuple[np.datetime64, bool, np.ndarray, np.ndarray]
GRIB = (".grib", ".grb", ".grib2", ".grb2")
# What coordinates are called: by ERA5's two generations of downloads, cfgrib, WeatherBench 2 and CMIP.
LATITUDE, LONGITUDE, TIME = ("latitude", "lat"), ("longitude", "lon"), ("valid_time", "time")
STEP = ("step", "prediction_timedelta")  # of a forecast, since `time`
LEVEL = ("level", "isobaricInhPa", "pressure_level", "plev", "lev", "sigma")
MEMBERS = ("number", "realization", "member", "ensemble")
IN_HPA = {"hpa": 1.0, "millibars": 1.0, "mbar": 1.0, "mb": 1.0, "pa": 0.01}
SPELT = {
    "m2s-2": "m2s-2", "m2/s2": "m2s-2", "ms-1": "ms-1", "m/s": "ms-1", "kgkg-1": "kgkg-1", "kg/kg": "kgkg-1",
    "1": "kgkg-1", "k": "k", "kelvin": "k", "pa": "pa", "pascals": "pa", "pas-1": "pas-1", "m": "m",
}  # fmt: skip


def read(path: Path, choose: Callable[[np.ndarray], int], grid: Grid, names: FieldNames) -> Read:
    """Time, whether it is a simulation's, upper [L, H, W, U] and surface [H, W, S], float32.

    Args:
      path: the file.
      choose: of its times, datetime64[h], the place of the one that is wanted.
      grid: on which the state must be.
      names: of variables.

    Raises:
      DataError: it cannot be opened, or something is not there or does not fit.
    """
    found = {}
    for data in _opened(path):
        for name in data.data_vars:
            variable = known(str(name)) or known(str(data[name].attrs.get("GRIB_shortName", "")))
            if variable is not None:
                found.setdefault(variable.short, []).append(data[name])
    times, fields = set(), {}
    for name in (*names.upper, *names.surface):
        if name not in found:
            there = ", ".join(sorted(found)) or "none that is known"
            raise DataError(f"--init {path} has no {name}, which the run reads; it has {there}")
        if len(found[name]) > 1:
            raise DataError(
                f"--init {path} has several variables that are {name}: leave one of them in the file"
            )
        time, fields[name] = _field(path, name, found[name][0], choose, grid, name in names.upper)
        times.add(time)
    if len(times) > 1:
        raise DataError(f"--init {path}: its variables end at different times: choose one by --time")
    upper = np.stack([fields[name] for name in names.upper], -1)
    surface = np.stack([fields[name] for name in names.surface], -1) if names.surface else None
    if surface is None:
        surface = np.zeros((*grid.shape[1:], 0), np.float32)
    return times.pop(), False, upper, surface


def _opened(path: Path) -> list[Any]:
    import xarray as xr

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what they warn of is looked at below
        try:
            if path.suffix.lower() in GRIB:
                import cfgrib

                # One file may hold several hypercubes; `xarray.open_dataset` would leave all but one out.
                return cfgrib.open_datasets(str(path), backend_kwargs={"indexpath": "", "errors": "raise"})
            if path.is_dir():
                return [xr.open_dataset(path, engine="zarr", decode_timedelta=False)]
            return [xr.open_dataset(path, decode_timedelta=False)]
        except ImportError as error:
            raise DataError(f"--init {path}: {error}; pip install 'pangu-jax[science]'") from None
        except Exception as error:  # each format has errors of its own, some of them bare
            why = (str(error).strip().splitlines() or [""])[0][:200]
            raise DataError(
                f"--init {path} cannot be read ({type(error).__name__}: {why}): make a store of it by "
                "`pangu fields build`"
            ) from None


def _field(
    path: Path, name: str, array: Any, choose: Callable[[np.ndarray], int], grid: Grid, upper: bool
) -> tuple[np.datetime64, np.ndarray]:
    """The time, and a field at it: [L, H, W] of upper air, [H, W] of the surface."""
    time = next((one for one in TIME if one in array.dims), None)
    times_N = _times(path, name, array, time)
    hours_N = times_N.astype("datetime64[h]")
    chosen = choose(hours_N)
    if hours_N[chosen] != times_N[chosen]:
        raise DataError(f"--init {path}: {name} is of {times_N[chosen]}, which is no whole hour")
    if time is not None:
        array = array.isel({time: chosen})
    for one in MEMBERS:
        if one in array.dims and array.sizes[one] == 1:
            array = array.isel({one: 0})
    rows = _places(path, name, array, LATITUDE, grid.latitude_H, "latitudes")
    columns = _places(path, name, array, LONGITUDE, grid.longitude_W, "longitudes")
    order = [rows[0], columns[0]]
    array = array.isel({rows[0]: rows[1], columns[0]: columns[1]})
    if upper:
        level = next((one for one in LEVEL if one in array.coords), None)
        if level is None:
            raise DataError(f"--init {path}: {name} has no levels; the run reads {len(grid.level_L)}")
        if level not in array.dims:
            array = array.expand_dims(level)
        array, order = array.isel({level: _levels(path, name, array[level], grid)}), [level, *order]
    extra = [one for one in array.dims if one not in order and array.sizes[one] > 1]
    if extra:
        raise DataError(
            f"--init {path}: {name} has a dimension {extra[0]} besides place and time: choose one of it"
        )
    values = array.squeeze([one for one in array.dims if one not in order]).transpose(*order)
    return hours_N[chosen], _converted(path, name, values)


def _times(path: Path, name: str, array: Any, dimension: str | None) -> np.ndarray:
    """When its states are, datetime64[s]: of a forecast that is not when it begins."""
    along = {dimension} if dimension else set()
    called = next((one for one in TIME if one in array.coords and set(array[one].dims) <= along), None)
    if called is None:
        raise DataError(f"--init {path}: {name} has no time")
    times_N = np.atleast_1d(array[called].values)
    if times_N.dtype.kind != "M":
        raise DataError(
            f"--init {path}: times of {name} are in a calendar that is not the common one, or have no units "
            f"(such as {times_N[0]})"
        )
    for step in STEP:
        if called == "time" and step in array.coords and not array[step].ndim:
            ahead = array[step].values
            if ahead.dtype.kind == "m":
                times_N = times_N + ahead
            elif ahead:  # xarray leaves hours as numbers
                raise DataError(f"--init {path}: {name} has {step} {ahead:g}: give valid_time beside it")
    return times_N.astype("datetime64[s]")


def _places(
    path: Path, name: str, array: Any, called: tuple[str, ...], wanted_N: np.ndarray, what: str
) -> tuple[str, np.ndarray]:
    """The dimension, and where in it each of the grid's coordinates is."""
    dimension = next((one for one in called if one in array.dims and one in array.coords), None)
    if dimension is None:
        raise DataError(f"--init {path}: {name} is on no grid of latitudes and longitudes")
    there_N = np.asarray(array[dimension].values, np.float64)
    far = there_N[None] - wanted_N[:, None]
    if what == "longitudes":
        far = (far + 180) % 360 - 180
        there_N = np.unique(np.round(there_N % 360 / CLOSE).astype(int) % round(360 / CLOSE))  # a seam twice
    near_N = np.abs(far).argmin(1)
    worst = np.abs(far).min(1).max()
    if len(there_N) != len(wanted_N) or worst > 2 * CLOSE:
        raise DataError(
            f"--init {path} lies on another grid than the run's: it has {len(there_N)} {what}, the run "
            f"{len(wanted_N)} from {wanted_N[0]:g} to {wanted_N[-1]:g}"
        )
    return dimension, near_N


def _levels(path: Path, name: str, level: Any, grid: Grid) -> np.ndarray:
    there_N = np.atleast_1d(np.asarray(level.values, np.float64))
    units = str(level.attrs.get("units", "")).lower()
    if grid.level_units == "hPa":
        if units and units not in IN_HPA:
            raise DataError(f"--init {path}: levels of {name} are in {units}, and the run's are in hPa")
        there_N = there_N * IN_HPA.get(units, 0.01 if there_N.max() > 2000 else 1.0)
    near = np.abs(there_N[None] - grid.level_L[:, None])
    lacking = grid.level_L[near.min(1) > CLOSE]
    if len(lacking):
        raise DataError(
            f"--init {path}: {name} has no level {lacking[0]:g} ({grid.level_units}), which the run reads; "
            f"it has {', '.join(f'{one:g}' for one in there_N)}"
        )
    return near.argmin(1)


def _converted(path: Path, name: str, array: Any) -> np.ndarray:
    variable, units = known(name), str(array.attrs.get("units", ""))
    values = np.asarray(array.values, np.float32)
    if variable is None or not units:
        return values
    wanted, own = _spelt(variable.units), _spelt(units)
    if wanted == "pa" and units.lower() in IN_HPA:
        return values * np.float32(100 * IN_HPA[units.lower()])
    if own != wanted:
        raise DataError(f"--init {path}: {name} is in {units}, and the run reads {variable.units}")
    return values


def _spelt(units: str) -> str:
    bare = units.lower().replace("**", "").replace("^", "").replace(" ", "").replace(".", "")
    return SPELT.get(bare, bare)
