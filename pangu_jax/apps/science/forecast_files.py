"""Forecasts as NetCDF-4 or Zarr with CF metadata, for xarray, CDO and Panoply.

They are written beside their place and put there when they are whole.

    time    of which the forecast is; forecast_reference_time when it begins, forecast_period between
    NAME    [realization, time, level, latitude, longitude], float32; no realization of one member

A .zarr is of format 2, which other tools than xarray read as well. The state that the forecast begins with is
the first. CDO knows no variables of five dimensions: `F-{member}.nc` is a file for each member.
"""

import shutil
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from data_pipelines.fields import layout
from data_pipelines.fields.grid import Grid
from data_pipelines.fields.hours import EPOCH
from data_pipelines.fields.variables import FieldNames
from pangu_jax.apps.science.forecast_formats import Attributes, NetCDFForecast, OpenForecast, ZarrForecast
from pangu_jax.apps.science.rolling import State
from pangu_jax.errors import UserError

ENDINGS = (".nc", ".zarr")
UNITS, CALENDAR = "hours since 1900-01-01 00:00:00", "proleptic_gregorian"
MEMBER, MEMBER_HERE = "realization", "{member}"
TIMES = "forecast_reference_time forecast_period"


class ForecastFile:
    """A file that grows by states; nothing is at its path before all of them are there.

    Args:
      path: ends in .nc or .zarr; nothing may be there yet.
      grid: of states.
      names: of their variables.
      begin: datetime64[h] of the initial state.
      leads: hours of states, 0 first.
      members: of the ensemble.
      about: attributes of the file, such as its source.
      simulated: whether `begin` is of a simulation's own time.

    Raises:
      UserError: as `require_new`, or it cannot be written.
    """

    def __init__(
        self,
        path: Path,
        grid: Grid,
        names: FieldNames,
        begin: np.datetime64,
        leads: Sequence[int],
        members: int,
        about: Attributes,
        simulated: bool = False,
    ):
        require_new(path)
        self._path, self._half = path, path.with_name(path.name + ".partial")
        _remove(self._half)
        self._names, self._members = names, members
        try:
            self._group: OpenForecast = (NetCDFForecast if path.suffix == ".nc" else ZarrForecast)(
                self._half, {"Conventions": "CF-1.11", **about}
            )
        except OSError as error:
            raise _unwritable(path, error) from None
        self._arrays: dict[str, Any] = {}
        self._coordinates(grid, int((begin - EPOCH).astype(np.int64)), np.asarray(leads, np.int64), simulated)
        levels, latitudes, longitudes = grid.shape
        for name in (*names.upper, *names.surface):
            inner = {"level": levels} if name in names.upper else {}
            sizes = {"time": len(leads), **inner, "latitude": latitudes, "longitude": longitudes}
            if members > 1:
                sizes = {MEMBER: members} | sizes
            chunk = [1 if one in (MEMBER, "time") else size for one, size in sizes.items()]
            about_it = layout.attributes(name) | {"coordinates": TIMES}
            self._arrays[name] = self._group.create(
                name, [*sizes], [*sizes.values()], chunk, "float32", about_it
            )

    def put(self, place: int, first: int, state: State) -> None:
        """Write states of some members at a lead.

        Args:
          place: of the lead.
          first: of the members.
          state: upper [B, L, H, W, U] and surface [B, H, W, S].

        Raises:
          UserError: the disk is full.
        """
        try:
            for part, names in zip(state, (self._names.upper, self._names.surface), strict=True):
                for at, name in enumerate(names):
                    if self._members == 1:
                        self._arrays[name][place] = part[0, ..., at]
                        continue
                    for member in range(len(part)):
                        self._arrays[name][first + member, place] = part[member, ..., at]
        except OSError as error:
            raise _unwritable(self._path, error) from None

    def __enter__(self) -> "ForecastFile":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        try:
            self._group.close()
        finally:
            if kind is not None:
                _remove(self._half)
        if kind is None:
            self._half.replace(self._path)

    def _coordinates(self, grid: Grid, begin: int, leads_T: np.ndarray, simulated: bool) -> None:
        of_time = {"units": UNITS, "calendar": CALENDAR}
        comment = {"comment": "a simulation's own time"} if simulated else {}
        reference = {"standard_name": "forecast_reference_time", **of_time, **comment}
        period = {
            "standard_name": "forecast_period",
            "long_name": "time since the initial state",
            "units": "hours",
        }
        self._put(
            "time", ("time",), begin + leads_T, {"standard_name": "time", "axis": "T", **of_time, **comment}
        )
        self._put("forecast_reference_time", (), np.int64(begin), reference)
        self._put("forecast_period", ("time",), leads_T, period)
        for name, (values, about) in layout.coordinates(grid).items():
            self._put(name, (name,), values, about | {"long_name": name})
        if self._members > 1:
            about = {"standard_name": MEMBER, "long_name": "member; 0 is not perturbed", "units": "1"}
            self._put(MEMBER, (MEMBER,), np.arange(self._members), about)

    def _put(self, name: str, dimensions: tuple[str, ...], values: Any, about: Attributes) -> None:
        values = np.asarray(values)
        dtype = "int32" if values.dtype.kind == "i" else "float64"  # CDO and others do not read int64 times
        array = self._group.create(name, dimensions, values.shape, values.shape, dtype, about)
        array[...] = values.astype(dtype)


class ForecastFiles:
    """One file of all members, or a file for each of them where the path has {member}.

    Args:
      path: as `ForecastFile`.
      members: of the ensemble.
      about: attributes of each file.
      given: what else `ForecastFile` takes.
    """

    def __init__(self, path: Path, members: int, about: Attributes, **given: Any):
        self._stack = ExitStack()
        paths = of_members(path, members)
        self._each = members if len(paths) == 1 else 1
        with self._stack:  # those that are made are taken away where one cannot be
            self._files = [
                self._stack.enter_context(
                    ForecastFile(
                        one,
                        members=self._each,
                        about={**about, **({"member": np.int32(at)} if len(paths) > 1 else {})},
                        **given,
                    )
                )
                for at, one in enumerate(paths)
            ]
            self._stack = self._stack.pop_all()

    def put(self, place: int, first: int, state: State) -> None:
        """As `ForecastFile.put`."""
        if len(self._files) == 1:
            self._files[0].put(place, first, state)
            return
        for at in range(len(state[0])):
            self._files[first + at].put(place, 0, (state[0][at : at + 1], state[1][at : at + 1]))

    def __enter__(self) -> "ForecastFiles":
        return self

    def __exit__(self, *error: Any) -> None:
        self._stack.__exit__(*error)


def of_members(path: Path, members: int) -> list[Path]:
    """The files of an ensemble."""
    if MEMBER_HERE not in path.name:
        return [path]
    return [path.with_name(path.name.replace(MEMBER_HERE, f"{at:03d}")) for at in range(members)]


def require_new(path: Path) -> None:
    """Asked before the work begins.

    Raises:
      UserError: the name does not end as it must, something is there, or its folder is not.
    """
    if path.suffix not in ENDINGS:
        raise UserError(f"--out {path}: name a file that ends in {' or '.join(ENDINGS)}")
    if path.exists():
        raise UserError(f"--out {path} is there already: remove it, or name another file")
    if not path.resolve().parent.is_dir():
        raise UserError(f"--out {path}: there is no folder {path.parent}")


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _unwritable(path: Path, error: OSError) -> UserError:
    return UserError(f"--out {path} cannot be written: {error.strerror or error}")
