"""Which windows of a store are learnt from, and which are held out: by time, with a gap between."""

from dataclasses import dataclass

import numpy as np

from data_pipelines.errors import DataError
from data_pipelines.fields import hours


def starts(hours_N: np.ndarray, lead_hours: int, steps: int) -> np.ndarray:
    """Places of states that have all of a window after them, int64, in their order."""
    whole = np.ones(len(hours_N), bool)
    for step in range(1, steps + 1):
        whole &= np.isin(hours_N + step * lead_hours, hours_N)
    return np.flatnonzero(whole)


@dataclass(frozen=True)
class HeldOut:
    """The time that is held out.

    Attributes:
      validation: the last share of a store's time; or its first day, "2018-01-01"; or its first and last,
        "2018-01-01/2018-12-31": what is later is on neither side then.
      gap_hours: before it that are on neither side.

    Raises:
      DataError: what it cannot be.
    """

    validation: float | str
    gap_hours: int

    def __post_init__(self):
        if isinstance(self.validation, str):
            self._days()
        elif not 0 < self.validation < 1:
            raise DataError(f"fields.validation {self.validation} must be between 0 and 1, or days")
        if self.gap_hours < 0:
            raise DataError(f"fields.gap_hours {self.gap_hours} must not be below 0")

    def bounds(self, hours_N: np.ndarray) -> tuple[float, float]:
        """The first hour that is held out and that from which on none is, as hours since 1900."""
        first, last = int(hours_N[0]), int(hours_N[-1])
        return (
            self._days()
            if isinstance(self.validation, str)
            else (last - self.validation * (last - first), last + 1)
        )

    def split(self, hours_N: np.ndarray, starts_N: np.ndarray, reach: int) -> tuple[np.ndarray, np.ndarray]:
        """Places of windows that are learnt from and of those that are held out.

        Args:
          hours_N: times of states, hours since 1900, ascending.
          starts_N: places of the first states of windows.
          reach: hours from a window's first state to its last.
        """
        begins_N, (border, end) = hours_N[starts_N], self.bounds(hours_N)
        learnt = starts_N[begins_N + reach < border - self.gap_hours]
        return learnt, starts_N[(begins_N >= border) & (begins_N + reach < end)]

    def _days(self) -> tuple[float, float]:
        first, _, last = str(self.validation).partition("/")
        try:
            border = np.datetime64(first, "D")
            end = np.datetime64(last or "9999-12-31", "D") + 1
            bounds = hours.since(np.array([border, end])).tolist()
        except (ValueError, TypeError):
            bounds = [0, 0]
        if bounds[0] >= bounds[1]:
            raise DataError(
                f"fields.validation = {self.validation!r}: give a share such as 0.2, the first day held out, "
                "'2018-01-01', or the first and the last, '2018-01-01/2018-12-31'"
            )
        return bounds[0], bounds[1]

    def __str__(self) -> str:
        return str(self.validation)
