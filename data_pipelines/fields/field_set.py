"""`fields` of a recipe: the states that a forecast model learns from, and which of them are held out.

fields.path = 'era5.zarr'        # made by `pangu fields build`, or 'simulated:held_suarez'
fields.lead_hours = 24
"""

import dataclasses
import functools
import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import gin
import numpy as np

from data_pipelines import cache
from data_pipelines.batches import Mixture, ValidationBatches
from data_pipelines.errors import DataError
from data_pipelines.fields.batches import FieldTask
from data_pipelines.fields.grid import Grid
from data_pipelines.fields.splitting import HeldOut, starts
from data_pipelines.fields.statistics import State, Statistics, moments
from data_pipelines.fields.store import FieldStore
from data_pipelines.fields.variables import FieldNames, known

TASK = "fields"
CHANGES = 256  # pairs of states that the deviation of a change is counted on
SIMULATED = "simulated:"


@dataclasses.dataclass(frozen=True)
class FieldSet:
    """States as a recipe asks for them; nothing is read until they are asked for.

    Attributes:
      path: the store, or "simulated:NAME".
      lead_hours: between one state of a window and the next.
      steps: states of a window after its first.
      upper: chosen variables on levels; None for all. Likewise `surface` and `levels`.
      held_out: the time that is not learnt from.
      symmetries: whether windows are turned around the axis and mirrored at the equator, each with draws of
        its own.
      validation_windows: of those held out so many are evaluated, evenly over their time; None for all.
      cache_root: where simulations and what is counted of a store are kept.
    """

    path: str
    lead_hours: int
    steps: int
    upper: tuple[str, ...] | None
    surface: tuple[str, ...] | None
    levels: tuple[float, ...] | None
    held_out: HeldOut
    symmetries: bool
    validation_windows: int | None
    cache_root: Path

    task_names = (TASK,)

    @functools.cached_property
    def store(self) -> FieldStore:
        """The store, simulated first where that is asked for.

        Raises:
          DataError: there is none, or its states are not as the recipe has them.
        """
        path = Path(self.path)
        if self.path.startswith(SIMULATED):
            from data_pipelines.fields import simulated

            path = simulated.prepared(self.path.removeprefix(SIMULATED), self.cache_root)
        store = FieldStore.open(path, self.upper, self.surface, self.levels)
        if self.symmetries:
            _require_symmetric(store)
        return store

    @property
    def grid(self) -> Grid:
        """Where values lie."""
        return self.store.grid

    @property
    def names(self) -> FieldNames:
        """Of channels."""
        return self.store.names

    @property
    def statistics(self) -> Statistics:
        """Of states."""
        return self.store.statistics

    @property
    def constants_HxWxK(self) -> np.ndarray:
        """Fields that do not change, float32."""
        return self.store.constants_HxWxK

    @functools.cached_property
    def starts_N(self) -> np.ndarray:
        """Places of states that a whole window begins with."""
        found = starts(self.store.hours_N, self.lead_hours, self.steps)
        if not len(found):
            raise DataError(
                f"{self.path}: no state has one {self.lead_hours} h later ({self.steps} of them in a row): "
                f"its states are {self.store.step_hours} h apart; set fields.lead_hours to a multiple of that"
            )
        return found

    @functools.cached_property
    def sides(self) -> tuple[np.ndarray, np.ndarray]:
        """Places of windows that are trained on, and of those that are held out.

        Raises:
          DataError: one of the two has none.
        """
        reach = self.lead_hours * self.steps
        learnt, held_out = self.held_out.split(self.store.hours_N, self.starts_N, reach)
        for side, name in ((learnt, "to train on"), (held_out, "held out")):
            if not len(side):
                first, last = self.store.times_N[[0, -1]]
                raise DataError(
                    f"{self.path}: from {first} to {last} no window of {reach} h is {name}, with "
                    f"fields.validation {self.held_out.validation} and a gap of {self.held_out.gap_hours} h: "
                    "change those, or take more data"
                )
        return learnt, held_out

    @functools.cached_property
    def increments(self) -> Statistics:
        """Of the change of training states over the lead, on at most 256 pairs evenly over their time."""
        learnt = self.sides[0]
        chosen = learnt[np.linspace(0, len(learnt) - 1, min(CHANGES, len(learnt))).astype(int)]

        def count() -> Statistics:
            total = moments(functools.partial(self.store.changes, self.lead_hours), chosen.tolist())
            return Statistics.of(total, self.grid.shape[0], len(self.names.upper))

        return self._counted(f"change-{self.lead_hours}h-{len(chosen)}-{chosen[-1]}", count)

    @functools.cached_property
    def mean_state(self) -> State:
        """The mean of all training states in each cell, float64, NaN where none has a value: the climate
        where there are no seasons."""
        border = self.store.hours_N[self.sides[0][-1]]
        sums: list[Any] = [0.0, 0.0]
        counts: list[Any] = [0, 0]
        for place in np.flatnonzero(self.store.hours_N <= border).tolist():
            for at, part in enumerate(self.store.read(place)):
                there = ~np.isnan(part)
                sums[at] = sums[at] + np.where(there, part, np.float64(0))
                counts[at] = counts[at] + there
        with np.errstate(invalid="ignore"):
            upper, surface = (total / count for total, count in zip(sums, counts, strict=True))
        return upper, surface

    def train_source(self, batch_size: int, seed: int, shift: int = 0) -> Mixture:
        """Endless windows of what is trained on."""
        task = self._task(self.sides[0], self.symmetries)
        return Mixture({TASK: (task, 1.0)}, batch_size, seed, shift)

    def validation_sources(self, batch_size: int) -> dict[str, ValidationBatches]:
        """Windows that are held out, once, as they are."""
        held_out = self.sides[1]
        count = min(self.validation_windows or len(held_out), len(held_out))
        chosen = held_out[np.linspace(0, len(held_out) - 1, count).astype(int)]
        return {TASK: ValidationBatches(self._task(chosen, False), batch_size)}

    def order(self) -> dict[str, str]:
        """What decides the training stream besides its seed."""
        names = (*self.names.upper, *self.names.surface)
        return {
            "fields": self.store.id,
            "variables": ", ".join(names),
            "windows": f"{self.steps} x {self.lead_hours} h",
            "held out": f"{self.held_out.validation} after {self.held_out.gap_hours} h",
            "symmetries": str(self.symmetries),
        }

    def notices(self) -> list[str]:
        """What a person must be told: windows that gaps leave out, cells without a value, symmetries that the
        Earth does not have."""
        hours_N, of = self.store.hours_N, f"fields of {self.path}"
        told, begun = [], int((hours_N + self.lead_hours * self.steps <= hours_N[-1]).sum())
        if lost := begun - len(self.starts_N):
            told.append(f"{of}: {lost} of {begun} windows are left out: they lack times")
        if lacking := ", ".join(f"{name} {share:.2%}" for name, share in self.store.missing.items()):
            told.append(f"{of}: cells have no value and do not count: {lacking}")
        if self.symmetries and not self.store.simulated:
            told.append(f"{of} are turned and mirrored, though the Earth has land and seasons")
        return told

    def _task(self, places: np.ndarray, symmetries: bool) -> FieldTask:
        return FieldTask(TASK, 0, self.store, places.tolist(), self.lead_hours, self.steps, symmetries)

    def _counted(self, name: str, count: Callable[[], Statistics]) -> Statistics:
        """What is counted of a store, kept: of a large one it takes long."""
        said = json.dumps([self.store.id, self.upper, self.surface, self.levels, name])
        key = f"fields-{hashlib.sha256(said.encode()).hexdigest()[:16]}"
        kept = cache.open_or_build(self.cache_root, key, lambda _: {"statistics": count().to_json()})
        return Statistics.from_json(kept.manifest["statistics"])


def _require_symmetric(store: FieldStore) -> None:
    what = "fields.symmetries turn and mirror the globe: "
    if store.names.constants:
        raise DataError(
            f"{what}the store has fields that do not turn with it ({', '.join(store.names.constants)})"
        )
    if not (store.grid.periodic and store.grid.symmetric):
        raise DataError(f"{what}the store's grid is not the same all around and on both hemispheres")
    for name in store.names.every:
        if known(name) is None:
            raise DataError(f"{what}whether {name} changes its sign then is not known: leave it out")


@gin.configurable
def fields(
    path: str | None = None,
    lead_hours: int = 24,
    steps: int = 1,
    upper: Sequence[str] | None = None,
    surface: Sequence[str] | None = None,
    levels: Sequence[float] | None = None,
    validation: float | str = 0.2,
    gap_hours: int = 240,
    symmetries: bool = False,
    validation_windows: int | None = None,
    cache_dir: str | None = None,
) -> FieldSet:
    """The states of a forecast model.

    Args:
      path: must be given: a store that `pangu fields build` has made, or simulated:held_suarez.
      lead_hours: from one state to the next: what the model steps by.
      steps: states of a window after its first; more than one for training by several steps.
      upper: variables on levels, in the order of channels; all when None.
      surface: variables on the surface; all when None.
      levels: those that are taken, in the store's units; all when None.
      validation: the last share of the time that is held out, or its first day ('2018-01-01'), or its first
        and last ('2018-01-01/2018-12-31').
      gap_hours: before it that belong to neither side.
      symmetries: turn windows around the axis by any longitude, and mirror half of them at the equator: for
        simulations without land.
      validation_windows: of those held out so many are evaluated, evenly over their time; all when None.
      cache_dir: where simulations are; the user's when None.

    Raises:
      DataError: a value that cannot be.
    """
    if not path:
        raise DataError(
            "fields.path is not set: say where the store is, --gin.fields.path=STORE (`pangu fields build` "
            "makes one), or simulated:held_suarez"
        )
    if lead_hours < 1 or steps < 1:
        raise DataError(f"fields.lead_hours {lead_hours} and fields.steps {steps} must be at least 1")
    return FieldSet(
        path,
        lead_hours,
        steps,
        None if upper is None else tuple(upper),
        None if surface is None else tuple(surface),
        None if levels is None else tuple(map(float, levels)),
        HeldOut(validation, gap_hours),
        symmetries,
        validation_windows,
        Path(cache_dir) if cache_dir else cache.default_root(),
    )
