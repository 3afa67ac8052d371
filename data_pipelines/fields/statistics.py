"""Means and deviations of variables, by level: what a network's numbers are measured in."""

import dataclasses
import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

NUMBERS = ("upper_mean_LxU", "upper_std_LxU", "surface_mean_S", "surface_std_S")
State = tuple[np.ndarray, np.ndarray]  # upper [L, H, W, U], surface [H, W, S]
Each = Callable[[Callable[[int], Any], Sequence[int]], Iterable[Any]]  # as `map`, in the same order


@dataclasses.dataclass(frozen=True)
class Statistics:
    """Of states, or of their change; float64, physical units, each cell alike, missing ones left out."""

    upper_mean_LxU: np.ndarray
    upper_std_LxU: np.ndarray
    surface_mean_S: np.ndarray
    surface_std_S: np.ndarray

    @classmethod
    def of(cls, total: "Moments", levels: int, variables: int) -> "Statistics":
        """Of fields in the order (level, upper variable), then surface variables; NaN for one never there."""
        mean_F, std_F, split = total.mean_F, total.std_F, levels * variables
        return cls(
            mean_F[:split].reshape(levels, variables),
            std_F[:split].reshape(levels, variables),
            mean_F[split:],
            std_F[split:],
        )

    def selected(self, levels: list[int], upper: list[int], surface: list[int]) -> "Statistics":
        """Of some levels and variables, by their places."""
        grid = np.ix_(levels, upper)
        return Statistics(
            self.upper_mean_LxU[grid],
            self.upper_std_LxU[grid],
            self.surface_mean_S[surface],
            self.surface_std_S[surface],
        )

    def to_json(self) -> dict[str, Any]:
        """As lists of numbers, every digit."""
        return {name: getattr(self, name).tolist() for name in NUMBERS}

    @classmethod
    def from_json(cls, kept: Mapping[str, Any]) -> "Statistics":
        """The inverse of `to_json`; KeyError or ValueError for what is none."""
        numbers = {name: np.asarray(kept[name], np.float64) for name in NUMBERS}
        for name in NUMBERS[:2]:
            if not numbers[name].size:  # a list of no levels does not say of how many variables
                numbers[name] = np.zeros((len(kept[name]), 0))
        return cls(**numbers)


@dataclasses.dataclass(frozen=True)
class Moments:
    """How many cells of each of F fields are there, int64 [F]; sums of them and of their squares, float64.

    Each field is counted from a number of its own, `about_F`, so that a mean far from 0 costs no digits.
    """

    about_F: np.ndarray
    count_F: np.ndarray
    first_F: np.ndarray
    second_F: np.ndarray

    @classmethod
    def of(cls, about_F: np.ndarray, fields: Iterable[np.ndarray]) -> "Moments":
        """Of float32 fields of any shape; cells that are not finite are left out."""
        rows = []
        for field, about in zip(fields, about_F, strict=True):
            moved = np.subtract(field.reshape(-1), about, dtype=np.float64)
            first = moved.sum()
            if not np.isfinite(first):
                moved = moved[np.isfinite(moved)]
                first = moved.sum()
            rows.append((moved.size, first, np.square(moved, out=moved).sum()))
        count_F, first_F, second_F = np.array(rows, np.float64).reshape(-1, 3).T
        return cls(about_F, count_F.astype(np.int64), first_F, second_F)

    def __add__(self, other: "Moments") -> "Moments":
        """Of both; they are about the same numbers."""
        parts = (mine + getattr(other, name) for name, mine in list(vars(self).items())[1:])
        return Moments(self.about_F, *parts)

    @property
    def mean_F(self) -> np.ndarray:
        """NaN where nothing was there."""
        with np.errstate(invalid="ignore"):
            return self.about_F + self.first_F / self.count_F

    @property
    def std_F(self) -> np.ndarray:
        """Deviation; NaN where nothing was there."""
        with np.errstate(invalid="ignore"):
            mean_F = self.first_F / self.count_F
            return np.sqrt(np.maximum(self.second_F / self.count_F - np.square(mean_F), 0))


def moments(fields: Callable[[int], list[np.ndarray]], places: Sequence[int], each: Each = map) -> Moments:
    """Of the fields of all places, added in the order of these: the number of workers changes no digit.

    Args:
      fields: gives the F fields of a place, float32; pickled where `each` does so.
      places: at least one.
      each: `map`, or that of a pool.
    """
    first = fields(places[0])
    about_F = np.nan_to_num(Moments.of(np.zeros(len(first)), first).mean_F)
    return functools.reduce(Moments.__add__, each(functools.partial(_moments_at, fields, about_F), places))


def _moments_at(fields: Callable[[int], list[np.ndarray]], about_F: np.ndarray, place: int) -> Moments:
    return Moments.of(about_F, fields(place))
