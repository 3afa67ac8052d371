"""Writing a store of fields: beside its place in `STORE.building`, chunk by chunk, renamed when it is whole.

What was begun is gone on with, and the same states give the same bytes.
"""

import functools
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np

from data_pipelines.errors import DataError
from data_pipelines.fields import hours, layout
from data_pipelines.fields.chunks import Chunks
from data_pipelines.fields.grid import Grid
from data_pipelines.fields.statistics import Each, State, Statistics, moments
from data_pipelines.fields.store import ABOUT, STATISTICS, FieldStore, group_of, identity
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
    there = _chunks(building, names)
    for place in range(len(times_N)):
        if not all(there.file(name, place).exists() for name in there.arrays):
            put(building, names, place, state(place))
        report(place + 1, len(times_N))
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
      DataError: what was begun there is another set, or times do not ascend by whole hours.
    """
    times_N = hours.ascending(times_N)
    building = path.with_name(path.name + ".building")
    own = identity(grid, names, times_N)
    if building.exists():
        if layout.begun(building) != (own, source):
            raise DataError(f"{building} is of another set of fields: remove it, or name another output")
        return building
    layout.create(building, grid, names, times_N, constants_HxWxK, own, simulated, source)
    return building


def put(building: Path, names: FieldNames, place: int, state: State) -> None:
    """Write a state; each variable is there whole or not at all.

    Raises:
      DataError: it has another shape, or an infinite value.
    """
    upper, surface = state
    arrays = _chunks(building, names).arrays
    for channels, of in ((upper, names.upper), (surface, names.surface)):
        for at, name in enumerate(of):
            array, field = arrays[name], np.asarray(channels[..., at], np.float32)
            if array.shape[1:] != field.shape:
                raise DataError(
                    f"{name} at place {place} has the shape {field.shape}, the store {array.shape[1:]}"
                )
            if np.isinf(field).any():
                raise DataError(f"{name} at place {place} has an infinite value: missing ones are NaN")
            array[place] = field


def finish(path: Path, each: Each = map) -> FieldStore:
    """Count statistics over all states, in their order, and put the store in its place.

    Args:
      path: where it will be.
      each: `map`, or that of a pool of processes or threads, in the same order.

    Raises:
      DataError: states are missing, or a variable has no value at all.
    """
    building = path.with_name(path.name + ".building")
    group = group_of(building)
    about = dict(group.attrs[ABOUT])
    grid, names = (
        Grid.from_json(about["grid"]),
        FieldNames(**{k: tuple(v) for k, v in about["names"].items()}),
    )
    times_N = hours.at(group["time"][:])
    chunks = _chunks(building, names)
    chunks.require_all(list(chunks.arrays), times_N)
    total = moments(functools.partial(chunks.fields, names, slice(None)), range(len(times_N)), each)
    statistics = Statistics.of(total, grid.shape[0], len(names.upper))
    cells = len(times_N) * grid.shape[1] * grid.shape[2]
    missing = _missing(names, grid, total.count_F, cells)
    group.attrs[STATISTICS] = {
        "of": about["id"],
        "states": len(times_N),
        "statistics": statistics.to_json(),
        **({"missing": missing} if missing else {}),
    }
    for left in building.rglob("*.partial"):  # of a process that was killed as it wrote
        left.unlink()
    _consolidate(building)
    building.rename(path)
    return FieldStore.open(path)


def _chunks(building: Path, names: FieldNames) -> Chunks:
    found = (building / "zarr.json").stat()
    return _opened(building, names, found.st_ino, found.st_mtime_ns)


@functools.lru_cache(maxsize=1)
def _opened(building: Path, names: FieldNames, *same: int) -> Chunks:
    """Opened once for all of its states: of small ones that would take as long as writing them."""
    del same  # another store may lie in the same place later
    group = group_of(building)
    return Chunks(building, {name: layout.to_write(group, name) for name in (*names.upper, *names.surface)})


def _missing(names: FieldNames, grid: Grid, count_F: np.ndarray, cells: int) -> dict[str, float]:
    """Share of cells without a value, by variable; DataError for a field that has none at all."""
    levels, variables = grid.shape[0], len(names.upper)
    where = [f"{name} at {level:g}" for level in grid.level_L for name in names.upper] + list(names.surface)
    share_F = 1 - count_F / cells
    for name in np.array(where)[share_F == 1]:
        raise DataError(f"{name} has no value in any state: leave it out")
    upper_U = share_F[: levels * variables].reshape(levels, variables).sum(0) / max(levels, 1)
    shares = zip(names.upper + names.surface, [*upper_U, *share_F[levels * variables :]], strict=True)
    return {name: float(share) for name, share in shares if share > 0}


def _consolidate(path: Path) -> None:
    """One file with all metadata: what opens the store next need not look through its folders."""
    import zarr

    with warnings.catch_warnings():
        # It is no part of the specification yet, and xarray reads it.
        warnings.filterwarnings("ignore", message="Consolidated metadata")
        zarr.consolidate_metadata(path)
