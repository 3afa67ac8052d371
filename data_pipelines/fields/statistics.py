"""Means and deviations of variables, by level: what a network's numbers are measured in."""

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

NUMBERS = ("upper_mean_LxU", "upper_std_LxU", "surface_mean_S", "surface_std_S")
State = tuple[np.ndarray, np.ndarray]  # upper [L, H, W, U], surface [H, W, S]


@dataclasses.dataclass(frozen=True)
class Statistics:
    """Of states, or of their change; float64, physical units, each cell alike, missing ones left out."""

    upper_mean_LxU: np.ndarray
    upper_std_LxU: np.ndarray
    surface_mean_S: np.ndarray
    surface_std_S: np.ndarray

    @classmethod
    def of(cls, states: Iterable[State]) -> "Statistics":
        """Over all places and times, in one pass.

        Deviations are from the first state's means, so that a mean far from 0 costs no digits.
        """
        upper, surface = _Moments(), _Moments()
        for state in states:
            upper.add(state[0])
            surface.add(state[1][None])
        upper_mean, upper_std = upper.finish()
        surface_mean, surface_std = surface.finish()
        return cls(upper_mean, upper_std, surface_mean[0], surface_std[0])

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
        """As lists of numbers."""
        return {name: getattr(self, name).tolist() for name in NUMBERS}

    @classmethod
    def from_json(cls, kept: Mapping[str, Any]) -> "Statistics":
        """The inverse of `to_json`; KeyError or ValueError for what is none."""
        return cls(**{name: np.asarray(kept[name], np.float64) for name in NUMBERS})


class _Moments:
    """Sums over [L, H, W, U], by level and variable."""

    def __init__(self) -> None:
        self.shift: Any = None
        self.count = self.first = self.second = np.float64(0)

    def add(self, x_LxHxWxU: np.ndarray) -> None:
        there = np.isfinite(x_LxHxWxU)
        x = x_LxHxWxU.astype(np.float64)
        if self.shift is None:
            counts = there.sum((1, 2))
            self.shift = np.where(there, x, 0).sum((1, 2)) / np.maximum(counts, 1)
        moved = np.where(there, x - self.shift[:, None, None], 0.0)
        self.count = self.count + there.sum((1, 2))
        self.first = self.first + moved.sum((1, 2))
        self.second = self.second + np.square(moved).sum((1, 2))

    def finish(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean and deviation; NaN where nothing was there."""
        with np.errstate(invalid="ignore", divide="ignore"):
            mean = self.first / self.count
            variance = np.maximum(self.second / self.count - np.square(mean), 0)
        return mean + self.shift, np.sqrt(variance)
