"""Writing a store of fields: beside its place in `STORE.building`, chunk by chunk, renamed when it is whole.

What was begun is gone on with, and the same states give the same bytes.
"""

import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np

from data_pipelines.errors import DataError
from data_pipelines.fields import layout
from data_pipelines.fields.grid import Grid
from data_pipelines.fields.statistics import State, Statistics
from data_pipelines.fields.store import (
    ABOUT,
    EPOCH,
    STATISTICS,
    FieldStore,
    chunk,
    group_of,
    identity,
    require_chunks,
)
from data_pipelines.fields.variables import FieldNames


def write_store(
    path: str | Path,
    grid: Grid,
    names: FieldNames,
    times_N: np.ndarray,
    state: Callable[[int], State],
    constants_HxWxK: np.ndarray | None = None,
    *,
    simulated: bool = False,
    source: str = "",
    report: Callable[[int, int], None] = lambda done, count: None,
) -> FieldStore:
    """Write a store, or the rest of one that was begun.

    Args:
      path: where it will be; nothing may be there.
      grid: of all variables.
      names: of the variables, by which channels are ordered.
      times_N: datetime64, ascending.
      state: gives the state at a place, in any order; called for those that are not there yet.
      constants_HxWxK: fields that do not change.
      simulated: whether times are a simulation's own.
      source: where the states are from, in words.
      report: told how many states are there, and of how many.

    Raises:
      DataError: something is there already, or a state has another shape.
    """
    path = Path(path)
    if path.exists():
        raise DataError(f"{path} is there already: name another place, or remove it")
    building = begin(path, grid, names, times_N, constants_HxWxK, simulated=simulated, source=source)
    for done, place in enumerate(range(len(times_N)), start=1):
        if not _is_there(building, names, place):
            put(building, names, place, state(place))
        report(done, len(times_N))
    return finish(path)


def begin(
    path: Path,
    grid: Grid,
    names: FieldNames,
    times_N: np.ndarray,
    constants_HxWxK: np.ndarray | None = None,
    *,
    simulated: bool = False,
    source: str = "",
) -> Path:
    """The folder in which a store is built, with its coordinates; what was begun before is gone on with.

    Raises:
      DataError: what was begun there is another set.
    """
    times_N = np.asarray(times_N, "datetime64[h]")
    building = path.with_name(path.name + ".building")
    own = identity(grid, names, times_N)
    if building.exists():
        if layout.begun(building) != own:
            raise DataError(f"{building} is of another set of fields: remove it, or name another output")
        return building
    layout.create(building, grid, names, times_N, constants_HxWxK, own, simulated, source)
    return building


def put(building: Path, names: FieldNames, place: int, state: State) -> None:
    """Write a state; each variable is there whole or not at all."""
    upper, surface = state
    group = group_of(building)
    for channels, of in ((upper, names.upper), (surface, names.surface)):
        for at, name in enumerate(of):
            array, field = group[name], np.asarray(channels[..., at], np.float32)
            if array.shape[1:] != field.shape:
                raise DataError(
                    f"{name} at place {place} has the shape {field.shape}, the store {array.shape[1:]}"
                )
            array[place] = field


def finish(path: Path) -> FieldStore:
    """Count statistics over all states, in their order, and put the store in its place."""
    building = path.with_name(path.name + ".building")
    about = dict(group_of(building).attrs[ABOUT])
    nothing = Statistics(np.zeros((0, 0)), np.zeros((0, 0)), np.zeros(0), np.zeros(0))
    names = FieldNames(**{k: tuple(v) for k, v in about["names"].items()})
    group = group_of(building)
    times_N = EPOCH + np.asarray(group["time"][:], np.int64).astype("timedelta64[h]")
    require_chunks(building, names, times_N)
    grid = Grid.from_json(about["grid"])
    store = FieldStore(
        building,
        grid,
        names,
        times_N,
        bool(about["simulated"]),
        np.zeros((*grid.shape[1:], 0), np.float32),
        nothing,
        about["id"],
        list(range(grid.shape[0])),
        {name: group[name] for name in names.every},
    )
    statistics = Statistics.of(store.read_anew(place) for place in range(len(times_N)))
    group.attrs[STATISTICS] = {"of": about["id"], "states": len(times_N), "statistics": statistics.to_json()}
    _consolidate(building)
    building.rename(path)
    return FieldStore.open(path)


def _consolidate(path: Path) -> None:
    """One file with all metadata: what opens the store next need not look through its folders."""
    import zarr

    with warnings.catch_warnings():
        # It is no part of the specification yet, and xarray reads it.
        warnings.filterwarnings("ignore", message="Consolidated metadata")
        zarr.consolidate_metadata(path)


def _is_there(path: Path, names: FieldNames, place: int) -> bool:
    return all(chunk(path, name, place).exists() for name in (*names.upper, *names.surface))
