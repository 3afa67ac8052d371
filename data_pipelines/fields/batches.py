"""Windows of states: a pure function of store, seed and windows read."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from data_pipelines.batches import Batch
from data_pipelines.fields.store import FieldStore
from data_pipelines.fields.variables import known


@dataclasses.dataclass
class FieldTask:
    """One side of a store, as `data_pipelines.batches` takes it.

    Attributes:
      name: in the mixture.
      index: its `task_id`.
      store: what windows are read from.
      records: places of their first states.
      lead_hours: from one state of a window to the next.
      steps: states after the first.
      symmetries: whether a window is turned and mirrored as it is read.
      size: windows per epoch.
    """

    name: str
    index: int
    store: FieldStore
    records: Sequence[int]
    lead_hours: int
    steps: int
    symmetries: bool = False
    size: int = dataclasses.field(init=False)

    def __post_init__(self) -> None:
        self.size = len(self.records)
        names = self.store.names
        self._signs = tuple(
            np.array([-1.0 if (one := known(name)) and one.northward else 1.0 for name in of], np.float32)
            for of in (names.upper, names.surface)
        )

    def window(self, record: int, rng: np.random.Generator) -> Batch:
        """upper float32 [T, L, H, W, U] · surface float32 [T, H, W, S] · time int32 [], hours since 1900 of
        the first state · place int32 [] · weight float32 [] · task_id int32 []."""
        hours, place_of = int(self.store.hours_N[record]), self.store.place_of
        places = [place_of[hours + step * self.lead_hours] for step in range(self.steps + 1)]
        upper, surface = self.store.read_window(places)
        if self.symmetries:
            upper, surface = self._moved(upper, surface, rng)
        return self._row(upper, surface, hours, record, 1.0)

    def _moved(
        self, upper: np.ndarray, surface: np.ndarray, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Turned around the axis, and half of them mirrored at the equator: v changes its sign."""
        turn, mirrored = int(rng.integers(upper.shape[-2])), bool(rng.integers(2))
        parts = []
        for field, sign in zip((upper, surface), self._signs, strict=True):
            field = np.roll(field, turn, axis=-2)
            parts.append(np.ascontiguousarray(field[..., ::-1, :, :] * sign) if mirrored else field)
        return parts[0], parts[1]

    def identity(self, record: int) -> str:
        """When the window begins."""
        return f"{self.name}: {self.store.times_N[record]}"

    def padding(self) -> Batch:
        """A row without weight, to fill a last batch."""
        levels, latitudes, longitudes = self.store.grid.shape
        names, states = self.store.names, self.steps + 1
        upper = np.zeros((states, levels, latitudes, longitudes, len(names.upper)), np.float32)
        surface = np.zeros((states, latitudes, longitudes, len(names.surface)), np.float32)
        return self._row(upper, surface, 0, -1, 0.0)

    def _row(self, upper: np.ndarray, surface: np.ndarray, hours: int, place: int, weight: float) -> Batch:
        return {
            "upper": upper,
            "surface": surface,
            "time": np.asarray(hours, np.int32),
            "place": np.asarray(place, np.int32),
            "weight": np.asarray(weight, np.float32),
            "task_id": np.asarray(self.index, np.int32),
        }
