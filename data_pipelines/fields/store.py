"""A store: states of the atmosphere on one grid, one chunk per variable and time, as Zarr 3.

    STORE/time, level, latitude, longitude   coordinates with CF attributes: xarray.open_zarr(STORE)
    STORE/NAME/c/TIME/...   upper air [time, level, latitude, longitude], surface [time, latitude, longitude],
                            constants [latitude, longitude]: float32, NaN where missing
    STORE/zarr.json         attributes: grid, names, statistics, and the set that they are of

Chunks are shuffled by bits, packed by LZ4 and end with a CRC-32C (benchmarks/fields_reading.py).

`data_pipelines.fields.writing` writes one.
"""

import dataclasses
import functools
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from data_pipelines.errors import DataError
from data_pipelines.fields import hours
from data_pipelines.fields.chunks import Chunks
from data_pipelines.fields.grid import Grid
from data_pipelines.fields.statistics import State, Statistics
from data_pipelines.fields.variables import FieldNames

ABOUT, STATISTICS = "pangu_fields", "pangu_statistics"  # attributes of a store
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
      missing: share of the cells of a chosen variable that are NaN, of those that lack any.
      id: hash of grid, names, times and statistics of the whole store: other fields have another.
    """

    path: Path
    grid: Grid
    names: FieldNames
    times_N: np.ndarray
    simulated: bool
    constants_HxWxK: np.ndarray
    statistics: Statistics
    missing: dict[str, float]
    id: str
    _levels: list[int] | slice
    _chunks: Chunks
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
            times_N = hours.at(group["time"][:])
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
        chunks = Chunks(path, arrays)
        chunks.require_all((*names.upper, *names.surface), times_N)
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
            {name: share for name, share in kept.get("missing", {}).items() if name in chosen.every},
            hashlib.sha256(json.dumps([own, kept["statistics"]]).encode()).hexdigest()[:16],
            slice(None) if places == list(range(whole.shape[0])) else places,
            chunks,
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
        return {hour: place for place, hour in enumerate(self.hours_N.tolist())}

    @property
    def hours_N(self) -> np.ndarray:
        """Times as hours since 1900-01-01, int64."""
        return hours.since(self.times_N)

    def read(self, place: int) -> State:
        """The state at a place: upper float32 [L, H, W, U] and surface [H, W, S], which cannot be written to.

        Raises:
          DataError: a chunk is lost or damaged.
        """
        if place in self._kept:
            return self._kept[place]
        levels, latitudes, longitudes = self.grid.shape
        upper = np.empty((levels, latitudes, longitudes, len(self.names.upper)), np.float32)
        surface = np.empty((latitudes, longitudes, len(self.names.surface)), np.float32)
        self._fill(place, upper, surface)
        upper.flags.writeable = surface.flags.writeable = False
        if len(self) * (upper.nbytes + surface.nbytes) <= KEPT:
            self._kept[place] = upper, surface
        return upper, surface

    def read_window(self, places: Sequence[int]) -> State:
        """States at some places, one after another: [T, L, H, W, U] and [T, H, W, S], the caller's own."""
        levels, latitudes, longitudes = self.grid.shape
        upper = np.empty((len(places), levels, latitudes, longitudes, len(self.names.upper)), np.float32)
        surface = np.empty((len(places), latitudes, longitudes, len(self.names.surface)), np.float32)
        for at, place in enumerate(places):
            if upper[0].nbytes + surface[0].nbytes <= KEPT // len(self):
                upper[at], surface[at] = self.read(place)
            else:
                self._fill(place, upper[at], surface[at])
        return upper, surface

    def changes(self, hours: int, place: int) -> list[np.ndarray]:
        """The state so many hours later less that at a place, as fields [H, W] in `Chunks.fields`' order."""
        later = self._chunks.fields(self.names, self._levels, self.place_of[int(self.hours_N[place]) + hours])
        return [
            b - a for a, b in zip(self._chunks.fields(self.names, self._levels, place), later, strict=True)
        ]

    def _fill(self, place: int, upper_LxHxWxU: np.ndarray, surface_HxWxS: np.ndarray) -> None:
        for at, name in enumerate(self.names.upper):
            upper_LxHxWxU[..., at] = self._chunks.field(name, place)[self._levels]
        for at, name in enumerate(self.names.surface):
            surface_HxWxS[..., at] = self._chunks.field(name, place)


def identity(grid: Grid, names: FieldNames, times_N: np.ndarray) -> str:
    """Of a set of fields: a hash of where, what and when."""
    said = [grid.to_json(), dataclasses.asdict(names), hours.since(times_N).tolist()]
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
