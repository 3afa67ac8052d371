"""The state that a forecast begins with: of a store of fields, or of a NetCDF, GRIB or Zarr file.

Everything is found by coordinates and names, never by position; what does not fit is refused by name.
"""

import json
from pathlib import Path
from typing import NamedTuple

import numpy as np

from data_pipelines.errors import DataError
from data_pipelines.fields import hours
from data_pipelines.fields.grid import Grid
from data_pipelines.fields.statistics import Statistics
from data_pipelines.fields.store import ABOUT, FieldStore
from data_pipelines.fields.variables import FieldNames
from pangu_jax.apps.science.channels import as_channels, channels
from pangu_jax.errors import UserError

FAR = 6.0  # deviations from the run's mean, root mean square over a field, past which it is of something else


class InitialState(NamedTuple):
    """A state of the atmosphere at a time.

    Attributes:
      time: datetime64[h].
      simulated: whether that is a simulation's own time, which no calendar knows.
      upper_LxHxWxU: float32, physical units; NaN where missing.
      surface_HxWxS: likewise.
      missing: cells that are NaN, of all of both.
    """

    time: np.datetime64
    simulated: bool
    upper_LxHxWxU: np.ndarray
    surface_HxWxS: np.ndarray
    missing: int


def read(
    path: str | Path,
    time: str | None,
    grid: Grid,
    names: FieldNames,
    of_run: Statistics,
    member: int | None = None,
) -> InitialState:
    """The state at a time.

    Args:
      path: a store of fields; or a file (or Zarr store) that xarray opens.
      time: as "2020-01-31T12"; the last that is there when None.
      grid: the model's.
      names: the model's.
      of_run: what the model's run has seen, to tell a state of other units from one of the weather.
      member: of a file of an ensemble.

    Raises:
      UserError, DataError: it is not there or cannot be read, has no such time, lies on another grid, lacks a
        variable or a level, or is not in the units that the run learnt from.
    """
    path = Path(path)
    if not path.exists():
        raise UserError(f"--init {path}: there is no such file or folder")
    found = (
        _of_store(path, time, grid, names) if is_store(path) else _of_file(path, time, grid, names, member)
    )
    missing = sum(int((~np.isfinite(part)).sum()) for part in found[2:])
    _require_plausible(path, found[2][None], found[3][None], grid, names, of_run)
    return InitialState(*found, missing)


def is_store(path: Path) -> bool:
    """Whether it is a store of `pangu fields build`, by the attributes of its group."""
    try:
        about = json.loads((path / "zarr.json").read_text("utf-8"))
        return ABOUT in about.get("attributes", {})
    except (OSError, ValueError):
        return False


def place_of(times_N: np.ndarray, asked: str | None, path: Path) -> int:
    """Where a time is among those of a file, datetime64[h]; the last when none is asked for.

    Raises:
      UserError: it is no time, or it is not there; the nearest that is there is named.
    """
    if not len(times_N):
        raise UserError(f"--init {path} has no times")
    if asked is None:
        return int(np.argmax(times_N))
    try:
        moment = np.datetime64(asked)
        if np.isnat(moment):
            raise ValueError
        moment = moment.astype("datetime64[s]")
    except ValueError:
        raise UserError(f"--time {asked}: write it as 2020-01-31T12, in UTC") from None
    far_N = np.abs(times_N.astype("datetime64[s]") - moment)
    nearest = int(np.argmin(far_N))
    if far_N[nearest]:
        raise UserError(
            f"--time {asked}: {path} has no state of that time; the nearest of its {len(times_N)} is "
            f"{times_N[nearest]}"
        )
    return nearest


def _of_store(
    path: Path, time: str | None, grid: Grid, names: FieldNames
) -> tuple[np.datetime64, bool, np.ndarray, np.ndarray]:
    try:
        store = FieldStore.open(path, names.upper, names.surface, grid.level_L.tolist())
    except DataError as error:
        raise DataError(f"--init {path} does not have what the run reads: {error}") from None
    if differs := grid.differs(store.grid):
        raise UserError(f"--init {path} lies on another grid than the run's: it has {differs}")
    place = place_of(store.times_N, time, path)
    return store.times_N[place], store.simulated, *store.read(place)


def _of_file(
    path: Path, time: str | None, grid: Grid, names: FieldNames, member: int | None
) -> tuple[np.datetime64, bool, np.ndarray, np.ndarray]:
    """By what `pangu fields build` reads files with."""
    from data_pipelines.fields.reading import files
    from data_pipelines.fields.reading.blocks import fields_of
    from data_pipelines.fields.reading.choices import FieldChoices
    from data_pipelines.fields.reading.plan import plan

    choices = FieldChoices(
        (*names.upper, *names.surface), tuple(grid.level_L.tolist()), common_times=True, member=member
    )
    try:
        planned = plan([files.look(path, choices)], choices)
        if differs := grid.differs(planned.grid):
            raise UserError(f"--init {path} lies on another grid than the run's: it has {differs}")
        times_N = hours.at(planned.hours_N)
        place = place_of(times_N, time, path)
        upper = [fields_of(planned, name, place, place + 1)[0] for name in names.upper]
        surface = [fields_of(planned, name, place, place + 1)[0, 0] for name in names.surface]
    except ImportError as error:
        raise UserError(f"--init {path}: {error}; pip install 'pangu-jax[science]'") from None
    except DataError as error:
        flags = " (flags of `pangu fields build`; --init takes the store that it makes)"
        which = "" if path.name in str(error) else f" {path}"
        raise DataError(f"--init{which}: {error}{flags if needs_flag(str(error)) else ''}") from None
    none = np.zeros((*grid.shape[1:], 0), np.float32)
    return times_N[place], False, np.stack(upper, -1), np.stack(surface, -1) if surface else none


def needs_flag(said: str) -> bool:
    """Whether an error of reading names a flag that `pangu forecast` does not have."""
    return "--" in said.replace("--member", "")


def _require_plausible(
    path: Path, upper: np.ndarray, surface: np.ndarray, grid: Grid, names: FieldNames, of_run: Statistics
) -> None:
    """UserError where a field is empty, or is no state of the atmosphere that the run learnt from."""
    fields_CxHxW = as_channels(upper, surface)[0]
    mean_C, std_C = (flat(of_run, kind) for kind in ("mean", "std"))
    for channel, field_HxW, mean, std in zip(channels(grid, names), fields_CxHxW, mean_C, std_C, strict=True):
        there = field_HxW[np.isfinite(field_HxW)].astype(np.float64)
        said = channel.said(grid.level_units)
        if np.isinf(field_HxW).any():
            raise UserError(
                f"--init {path}: {said} has infinite values: make them NaN where they are missing"
            )
        if not len(there):
            raise UserError(f"--init {path}: {said} is missing everywhere at this time")
        far = float(np.sqrt(np.mean(np.square((there - mean) / std))))
        if far > FAR:
            raise UserError(
                f"--init {path}: {said} is {there.mean():.6g} on average, the run learnt {mean:.6g} "
                f"± {std:.3g}: these are other units, another variable, or the run is of another set"
            )


def flat(statistics: Statistics, kind: str) -> np.ndarray:
    """Means or deviations as a list, in the order of `channels`."""
    upper_LxU = getattr(statistics, f"upper_{kind}_LxU")
    return np.concatenate(
        [np.asarray(upper_LxU).T.ravel(), np.asarray(getattr(statistics, f"surface_{kind}_S"))]
    )
