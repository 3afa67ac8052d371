"""What the climate has at a time: what anomalies are from, and a forecast to be beaten.

Either the mean of all states, or WeatherBench 2's mean by day of year and hour: over all years and a window
of 61 days whose weights fall linearly to 0 on both sides, so that 59 days count. A year without a 366th day
repeats its 365th there, and the year's end is beside its beginning.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from pangu_jax.errors import UserError

WINDOW = 61
DAYS = 366  # places for a day of the year
State = tuple[np.ndarray, np.ndarray]  # upper [L, H, W, U], surface [H, W, S]
Key = tuple[int, int]  # day of the year from 1 on, hour


class Climate(NamedTuple):
    """Mean states.

    Attributes:
      kind: in words, of whom it is the mean.
      states: by day of year and hour, float64; the one of all times at None.
    """

    kind: str
    states: dict[Key | None, State]

    def at(self, time: np.datetime64) -> State:
        """The climate's state at a time."""
        return self.states[None] if None in self.states else self.states[day_and_hour(time)]


def mean(states: Iterable[State]) -> Climate:
    """The mean of some states, cell by cell, leaving out what is missing.

    Raises:
      UserError: there are none.
    """
    total = _Total()
    count = 0
    for state in states:
        total.add(state, 1.0)
        count += 1
    if not count:
        raise UserError("a climate needs states, and none are trained on")
    return Climate(f"mean of {count} states", {None: total.mean()})


def by_day_and_hour(
    states: Iterable[tuple[np.datetime64, State]], times: Sequence[np.datetime64], window: int = WINDOW
) -> Climate:
    """Means by day of year and hour, at those of some times: no others are kept.

    Args:
      states: with their times, in any order; each is read once.
      times: when the climate will be asked for.
      window: days, odd.

    Raises:
      UserError: no state is near a time, by day and hour.
    """
    totals: dict[Key, _Total] = {day_and_hour(time): _Total() for time in times}
    for time, state in states:
        day, hour = day_and_hour(time)
        repeated = day == DAYS - 1 and not _is_leap(time)
        for (wanted, own_hour), total in totals.items():
            if own_hour != hour:
                continue
            weight = _weight(day - wanted, window) + (_weight(DAYS - wanted, window) if repeated else 0.0)
            if weight > 0:
                total.add(state, weight)
    for (day, hour), total in totals.items():
        if not total.states:
            raise UserError(
                f"the states that are trained on have none within {window // 2} days of day {day} of the "
                f"year at {hour:02d} h: give climatology = 'mean', or take whole years"
            )
    kind = f"mean by day of year and hour, {window} days, weights falling linearly"
    return Climate(kind, {key: total.mean() for key, total in totals.items()})


def day_and_hour(time: np.datetime64) -> Key:
    """Day of the year from 1 on, and hour."""
    year = time.astype("datetime64[Y]")
    hours = int((time.astype("datetime64[h]") - year.astype("datetime64[h]")).astype(np.int64))
    return hours // 24 + 1, hours % 24


def _weight(days: int, window: int) -> float:
    """Of a distance in days, around the year."""
    distance = min(days % DAYS, -days % DAYS)
    return max(0.0, 1 - distance / (window // 2))


def _is_leap(time: np.datetime64) -> bool:
    year = time.astype("datetime64[Y]")
    return int(((year + 1).astype("datetime64[D]") - year.astype("datetime64[D]")).astype(np.int64)) == DAYS


class _Total:
    """Weighted sums of states, cell by cell."""

    def __init__(self) -> None:
        self.states = 0
        self._sums: list[np.ndarray] = []
        self._weights: list[np.ndarray] = []

    def add(self, state: State, weight: float) -> None:
        if not self.states:
            self._sums = [np.zeros(part.shape) for part in state]
            self._weights = [np.zeros(part.shape) for part in state]
        self.states += 1
        for part, sums, weights in zip(state, self._sums, self._weights, strict=True):
            there = np.isfinite(part)
            np.add(sums, np.multiply(part, weight, dtype=np.float64), out=sums, where=there)
            np.add(weights, weight, out=weights, where=there)

    def mean(self) -> State:
        with np.errstate(invalid="ignore"):
            upper, surface = (s / w for s, w in zip(self._sums, self._weights, strict=True))
        return upper, surface
