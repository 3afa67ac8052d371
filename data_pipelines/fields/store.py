"""A store: states of the atmosphere on one grid, one chunk per variable and time, as Zarr 3.

    STORE/time, level, latitude, longitude   coordinates with CF attributes: xarray.open_zarr(STORE)
    STORE/NAME/c/TIME/...   upper air [time, level, latitude, longitude], surface [time, latitude, longitude],
                            constants [latitude, longitude]: float32, NaN where missing
    STORE/zarr.json         attributes: grid, names, statistics, and the set that they are of

`data_pipelines.fields.writing` writes one.
"""

import dataclasses
import functools
import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from data_pipelines.errors import DataError
from data_pipelines.fields.grid import Grid
from data_pipelines.fields.statistics import State, Statistics
from data_pipelines.fields.variables import FieldNames

ABOUT, STATISTICS = "pangu_fields", "pangu_statistics"  # attributes of a store
EPOCH = np.datetime64("1900-01-01T00", "h")
KEPT = 512 * 2**20  # bytes up to which a store's states stay in memory once they are read


@dataclasses.dataclass
class FieldStore:
    """A store that is open for reading.

    Attributes:
      path: the store.
      grid: of all variables, the chosen levels alone.
      names: of the chosen variables.
      times_N: datetime64[h], ascending.
      simulated: whether times are those of a simulation, which no calendar knows.
      constants_HxWxK: float32.
      statistics: of the chosen levels and variables.
      id: hash of grid, names and times of the whole store.
    """

    path: Path
    grid: Grid
    names: FieldNames
    times_N: np.ndarray
    simulated: bool
    constants_HxWxK: np.ndarray
    statistics: Statistics
    id: str
    _levels: list[int]
    _arrays: dict[str, Any]
    _kept: dict[int, State] = dataclasses.field(default_factory=dict)

    @classmethod
    def open(
        cls,
        path: str | Path,
        upper: Sequence[str] | None = None,
        surface: Sequence[str] | None = None,
        levels: Sequence[float] | None = None,
    ) -> "FieldStore":
        """A finished store, or some of its variables and levels.

        Raises:
          DataError: there is none, it is not finished or damaged, a chunk is missing, or what is chosen is
            not there.
        """
        path = Path(path)
        group = group_of(path)
        try:
            about, kept = dict(group.attrs[ABOUT]), dict(group.attrs[STATISTICS])
            whole, names = (
                Grid.from_json(about["grid"]),
                FieldNames(**{k: tuple(v) for k, v in about["names"].items()}),
            )
            times_N = EPOCH + np.asarray(group["time"][:], np.int64).astype("timedelta64[h]")
            statistics = Statistics.from_json(kept["statistics"])
            arrays = {name: group[name] for name in names.every}
        except (KeyError, ValueError, TypeError, OSError) as error:
            raise DataError(
                f"{path} is no finished store of fields ({type(error).__name__}: {error}): make it by `pangu "
                "fields build --input FILES --output STORE`"
            ) from None
        own = identity(whole, names, times_N)
        if kept["of"] != own:
            raise DataError(f"the statistics of {path} are of another set of fields: build the store again")
        require_chunks(path, names, times_N)
        places = whole.levels(tuple(levels)) if levels is not None else list(range(whole.shape[0]))
        chosen = names.chosen(
            None if upper is None else tuple(upper), None if surface is None else tuple(surface)
        )
        constants = [np.asarray(arrays[name][:], np.float32) for name in names.constants]
        return cls(
            path,
            dataclasses.replace(whole, level_L=whole.level_L[places]),
            chosen,
            times_N,
            bool(about["simulated"]),
            np.stack(constants, -1) if constants else np.zeros((*whole.shape[1:], 0), np.float32),
            statistics.selected(
                places,
                [names.upper.index(n) for n in chosen.upper],
                [names.surface.index(n) for n in chosen.surface],
            ),
            own,
            places,
            arrays,
        )

    def __len__(self) -> int:
        return len(self.times_N)

    @functools.cached_property
    def step_hours(self) -> int:
        """The commonest number of hours from one state to the next; 0 for a single one."""
        steps = np.diff(self.times_N).astype(np.int64)
        return int(np.bincount(steps).argmax()) if len(steps) else 0

    @functools.cached_property
    def place_of(self) -> dict[int, int]:
        """Place of the state at a time, by hours since 1900."""
        return {int(hours): place for place, hours in enumerate(self.hours_N)}

    @property
    def hours_N(self) -> np.ndarray:
        """Times as hours since 1900-01-01, int64."""
        return (self.times_N - EPOCH).astype(np.int64)

    def read(self, place: int) -> State:
        """The state at a place: upper float32 [L, H, W, U] and surface [H, W, S]; not to be changed."""
        if place not in self._kept:
            state = self.read_anew(place)
            if (len(self) * sum(part.nbytes for part in state)) > KEPT:
                return state
            self._kept[place] = state
        return self._kept[place]

    def read_anew(self, place: int) -> State:
        """`read`, from its chunks."""
        levels, latitudes, longitudes = self.grid.shape
        upper = np.empty((levels, latitudes, longitudes, len(self.names.upper)), np.float32)
        for at, name in enumerate(self.names.upper):
            upper[..., at] = self._arrays[name][place][self._levels]
        surface = np.empty((latitudes, longitudes, len(self.names.surface)), np.float32)
        for at, name in enumerate(self.names.surface):
            surface[..., at] = self._arrays[name][place]
        return upper, surface


def identity(grid: Grid, names: FieldNames, times_N: np.ndarray) -> str:
    """Of a set of fields: a hash of where, what and when."""
    said = [grid.to_json(), dataclasses.asdict(names), (times_N - EPOCH).astype(np.int64).tolist()]
    return hashlib.sha256(json.dumps(said).encode()).hexdigest()[:16]


def group_of(path: Path) -> Any:
    """A store's arrays; DataError where there is none."""
    import zarr

    try:
        # What consolidated metadata say may be older than what is there.
        return zarr.open_group(
            path, mode="r+" if path.name.endswith(".building") else "r", use_consolidated=False
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{path} is no store of fields ({type(error).__name__}): name one that `pangu fields build` made"
        ) from None


def chunk(path: Path, name: str, place: int) -> Path:
    """Where the chunk of a variable's state is."""
    return path / name / "c" / str(place)


def require_chunks(path: Path, names: FieldNames, times_N: np.ndarray) -> None:
    """A chunk that is missing would be read as NaN without a word."""
    for name in (*names.upper, *names.surface):
        folder = path / name / "c"
        there = {entry.name for entry in os.scandir(folder)} if folder.is_dir() else set()
        lacking = [place for place in range(len(times_N)) if str(place) not in there]
        if lacking:
            raise DataError(
                f"{path}: {len(lacking)} of {len(times_N)} states of {name} are missing, the first at "
                f"{times_N[lacking[0]]}: build the store again"
            )
