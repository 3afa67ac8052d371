"""Errors of forecasts of the quickstart's held-out days: networks, linear maps, persistence and
climatology.
"""

from collections.abc import Callable, Sequence

import numpy as np

from benchmarks._rows import Row
from data_pipelines.fields.field_set import FieldSet

State = tuple[np.ndarray, np.ndarray]  # upper [B, L, H, W, U], surface [B, H, W, S]
Step = Callable[[np.ndarray, np.ndarray], State]
POOLED = "all"  # every number in its variable's deviation on its level
AT_A_TIME = 5


def composition(lead: int, steps: Sequence[int]) -> list[int] | None:
    """The fewest steps to a lead, the longest first (Bi et al., arXiv 2211.02556); None where they miss
    it.
    """
    calls = []
    for step in sorted(steps, reverse=True):
        calls += [step] * (lead // step)
        lead %= step
    return None if lead else calls


class HeldOut:
    """Forecasts from the same held-out days for all.

    Args:
      data: of the recipe; its validation windows are the days.
      longest: hours; later days than that before the end of the store are left out.
    """

    def __init__(self, data: FieldSet, longest: int):
        store, self._data = data.store, data
        last = store.hours_N[-1] - longest
        windows = data.sides[1]
        chosen = windows[
            np.linspace(0, len(windows) - 1, data.validation_windows or len(windows)).astype(int)
        ]
        self._hours_N = [int(store.hours_N[place]) for place in chosen if store.hours_N[place] <= last]
        self.names = *data.names.upper, *data.names.surface
        self.start = self.truth(0)
        self._area_H = data.grid.weights_H

    def __len__(self) -> int:
        return len(self._hours_N)

    def truth(self, lead: int) -> State:
        """The states so many hours after each start."""
        store = self._data.store
        states = [store.read(store.place_of[hours + lead]) for hours in self._hours_N]
        upper, surface = (np.stack(parts) for parts in zip(*states, strict=True))
        return upper, surface

    def climate(self) -> State:
        """The mean of training states at each place."""
        upper, surface = self._data.mean_state
        return np.broadcast_to(upper, self.start[0].shape), np.broadcast_to(surface, self.start[1].shape)

    def errors(self, made: State, lead: int) -> dict[str, float]:
        """Variable -> RMSE in its units over all levels, and `POOLED`: the root of the mean over time of
        means over the globe, cells by area."""
        statistics, found, shares = self._data.statistics, {}, []
        deviations = statistics.upper_std_LxU, statistics.surface_std_S
        of = self._data.names.upper, self._data.names.surface
        for part, true, names, deviation in zip(made, self.truth(lead), of, deviations, strict=True):
            square = np.square(part.astype(np.float64) - true)
            mean = np.mean(square * self._area_H[:, None, None], axis=(0, -3, -2))  # [L, U] or [S]
            shares.append((mean / np.square(deviation)).ravel())
            for at, name in enumerate(names):
                found[name] = float(np.sqrt(np.mean(mean[..., at])))
        return found | {POOLED: float(np.sqrt(np.mean(np.concatenate(shares))))}

    def rows(self, model: str, steps: dict[int, Step], leads: Sequence[int], seed: int | None) -> list[Row]:
        """Rows of every lead that the given steps reach, each state on the way made once.

        Args:
          model: its name in the rows.
          steps: hours of a step -> what makes it.
          leads: hours.
          seed: of the network; None for what has none.
        """
        known: dict[tuple[int, ...], State] = {(): self.start}
        rows = []
        for lead in leads:
            calls = composition(lead, list(steps))
            if calls is None:
                continue
            for count in range(1, len(calls) + 1):
                way = tuple(calls[:count])
                if way not in known:
                    known[way] = in_parts(steps[way[-1]], known[way[:-1]])
            row = {
                "lead_hours": lead,
                "step_hours": max(calls),
                "calls": len(calls),
                "model": model,
                "seed": seed,
            }
            rows += [
                {"variable": name, **row, "rmse": value}
                for name, value in self.errors(known[tuple(calls)], lead).items()
            ]
        return rows

    def still(self, model: str, state: State, leads: Sequence[int]) -> list[Row]:
        """Rows of one forecast for every lead: persistence, climatology."""
        what: Row = {"calls": 0, "model": model, "seed": None}
        return [
            {"variable": name, "lead_hours": lead, "step_hours": lead, **what, "rmse": value}
            for lead in leads
            for name, value in self.errors(state, lead).items()
        ]


def in_parts(step: Step, state: State) -> State:
    """A step of so many states at a time; the last call is filled up."""
    made = []
    for first in range(0, len(state[0]), AT_A_TIME):
        parts = [part[first : first + AT_A_TIME] for part in state]
        lacking = AT_A_TIME - len(parts[0])
        full = [np.concatenate([part, np.repeat(part[-1:], lacking, 0)]) for part in parts]
        made.append([np.asarray(part)[: AT_A_TIME - lacking] for part in step(*full)])
    upper, surface = (np.concatenate(parts) for parts in zip(*made, strict=True))
    return upper, surface
