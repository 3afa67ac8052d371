"""Scores of forecasts by WeatherBench 2's definitions (arXiv 2308.15560; weatherbench2/metrics.py), in NumPy.

Fields are [T, ..., H, W] in float32 or float64, times first; sums are in float64. Each score is of single
fields [T, ...]: a score over time is the mean of it over T, and a root is taken of that mean (`rmse`,
`wind_vector_rmse`, `spread_skill`). What is missing (NaN) in an area makes its score NaN: give an area
without such cells (`areas.area(there_HxW=...)`).
"""

import functools
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from pangu_jax.apps.science.areas import Area

EARTH_RADIUS_M = 6_367_500.0  # mean of the polar and the equatorial one, as WeatherBench 2 rounds them
Wind = tuple[np.ndarray, np.ndarray]  # eastward, northward
BLOCK = 2**16  # cells at once: with what is made of them they stay in a core's own cache


def rmse(forecast: np.ndarray, truth: np.ndarray, area: Area) -> np.ndarray:
    """Root of the mean square error over area and time, float64 [...]."""
    return np.sqrt(mean_square_error(forecast, truth, area).mean(0))


def mean_square_error(forecast: np.ndarray, truth: np.ndarray, area: Area) -> np.ndarray:
    """Of each field, float64 [T, ...]."""
    return _by_field(lambda f, t: area.mean(np.square(_less(f, t))), forecast, truth)


def bias(forecast: np.ndarray, truth: np.ndarray, area: Area) -> np.ndarray:
    """Mean of forecast less truth, float64 [T, ...]."""
    return _by_field(lambda f, t: area.mean(_less(f, t)), forecast, truth)


def wind_vector_rmse(forecast: Wind, truth: Wind, area: Area) -> np.ndarray:
    """Root of `wind_vector_square_error` over time, float64 [...]."""
    return np.sqrt(wind_vector_square_error(forecast, truth, area).mean(0))


def wind_vector_square_error(forecast: Wind, truth: Wind, area: Area) -> np.ndarray:
    """Mean square length of the difference of two winds, float64 [T, ...]."""

    def squares(u: np.ndarray, v: np.ndarray, true_u: np.ndarray, true_v: np.ndarray) -> np.ndarray:
        return area.mean(np.square(_less(u, true_u)) + np.square(_less(v, true_v)))

    return _by_field(squares, *forecast, *truth)


def acc(forecast: np.ndarray, truth: np.ndarray, climatology: np.ndarray, area: Area) -> np.ndarray:
    """Anomaly correlation of each field, not centred; float64 [T, ...].

    Args:
      forecast: [T, ..., H, W].
      truth: of the same shape.
      climatology: what the climate has at each time, of the same shape.
      area: where.
    """

    def correlation(f: np.ndarray, t: np.ndarray, c: np.ndarray) -> np.ndarray:
        f, t = _less(f, c), _less(t, c)
        with np.errstate(invalid="ignore", divide="ignore"):  # no anomaly at all: NaN
            return area.mean(f * t) / np.sqrt(area.mean(f * f) * area.mean(t * t))

    return _by_field(correlation, forecast, truth, climatology)


class Crps(NamedTuple):
    """A continuous ranked probability score and its parts, each float64 [T, ...].

    Attributes:
      score: skill - spread / 2.
      skill: mean distance of a member from the truth.
      spread: mean distance of two different members (the fair form); 0 for a single one.
    """

    score: np.ndarray
    skill: np.ndarray
    spread: np.ndarray


def crps(members: np.ndarray, truth: np.ndarray, area: Area) -> Crps:
    """Of ensembles [M, T, ..., H, W].

    The mean distance of members is the sum of sorted ones by 2 rank - M - 1 (Zamo and Naveau 2018), of their
    differences from the truth: those lose no digits, and float32 is enough for them.
    """
    count = len(members)

    def parts(x_MxNxC: np.ndarray, y_NxC: np.ndarray) -> np.ndarray:
        x_MxNxC = x_MxNxC - y_NxC
        skill_N = _member_means(np.abs(x_MxNxC), area).sum(0) / count
        spread_N = np.zeros(len(y_NxC))
        for rank, row_NxC in enumerate(_sorted_rows(x_MxNxC), start=1):
            spread_N += (2 * rank - count - 1) * area.mean(row_NxC)
        return np.stack([skill_N, spread_N * (2 / max(count * (count - 1), 1))], -1)

    skill, spread = np.moveaxis(_by_field(parts, members, truth, members=count), -1, 0)
    return Crps(skill - spread / 2, skill, spread)


class SpreadSkill(NamedTuple):
    """What an ensemble is off by and what it says it may be off by, each float64 [...]."""

    spread: np.ndarray  # root of the mean variance of members, by M - 1; 0 for a single one
    skill: np.ndarray  # root of the mean square error of the members' mean
    ratio: np.ndarray  # of the two; sqrt(M / (M + 1)) for an ensemble that truth could be one of


def spread_skill(members: np.ndarray, truth: np.ndarray, area: Area) -> SpreadSkill:
    """Of ensembles [M, T, ..., H, W], over area and time, roots after means."""
    spread, skill = (np.sqrt(of.mean(0)) for of in ensemble_squares(members, truth, area))
    with np.errstate(invalid="ignore", divide="ignore"):
        return SpreadSkill(spread, skill, spread / skill)


def ensemble_squares(members: np.ndarray, truth: np.ndarray, area: Area) -> tuple[np.ndarray, np.ndarray]:
    """Variance of members (by M - 1) and square error of their mean, over the area; float64 [T, ...] each.

    Args:
      members: [M, T, ..., H, W].
      truth: [T, ..., H, W].
      area: where.
    """
    count = len(members)

    def parts(x_MxNxC: np.ndarray, y_NxC: np.ndarray) -> np.ndarray:
        # From the first member, not from 0: squares of a height or a pressure would leave no digits for a
        # variance, and differences leave enough of them to float32.
        others_MxNxC = x_MxNxC[1:] - x_MxNxC[0]
        mean_NxC = others_MxNxC.sum(0) / count
        squares_N = area.mean(np.square(mean_NxC))
        mean_NxC += x_MxNxC[0] - y_NxC
        np.square(others_MxNxC, out=others_MxNxC)
        variance_N = (_member_means(others_MxNxC, area).sum(0) - count * squares_N) / max(count - 1, 1)
        return np.stack([np.maximum(variance_N, 0), area.mean(np.square(mean_NxC))], -1)

    variance, square = np.moveaxis(_by_field(parts, members, truth, members=count), -1, 0)
    return variance, square


def zonal_spectrum(fields: np.ndarray, latitude_H: np.ndarray) -> np.ndarray:
    """Energy by zonal wavenumber, float64 [..., H, W // 2 + 1], in the field's units squared times metres.

    C |F_0|^2, and 2 C |F_k|^2 for the others, with F the Fourier transform over W (by 1 / W) and C the
    length of the latitude's circle, as WeatherBench 2's ZonalEnergySpectrum; the wave that ends an even W,
    too, counts twice there.

    Args:
      fields: [..., H, W], W evenly all around the globe.
      latitude_H: degrees.
    """
    circle_H = 2 * np.pi * EARTH_RADIUS_M * np.cos(np.deg2rad(np.asarray(latitude_H, np.float64)))
    waves = np.fft.rfft(np.asarray(fields, np.float64), axis=-1, norm="forward")
    energy = np.square(waves.real) + np.square(waves.imag)
    energy[..., 1:] *= 2
    energy *= circle_H[:, None]
    return energy


def wavelengths(latitude_H: np.ndarray, count: int) -> np.ndarray:
    """Metres of each zonal wavenumber 0 .. count - 1 at each latitude, float64 [H, K]; infinite for number
    0."""
    circle_H = 2 * np.pi * EARTH_RADIUS_M * np.cos(np.deg2rad(np.asarray(latitude_H, np.float64)))
    with np.errstate(divide="ignore"):
        return circle_H[:, None] / np.arange(count)


@functools.cache
def sorting_network(count: int) -> tuple[tuple[int, int], ...]:
    """Pairs (low, high) whose exchange, in this order, sorts `count` values: Batcher's odd-even merges."""
    pairs: list[tuple[int, int]] = []
    size = 1
    while size < count:
        step = size
        while step:
            for first in range(step % size, count - step, 2 * step):
                lows = range(first, min(first + step, count - step))
                merged = 2 * size
                pairs += [(low, low + step) for low in lows if low // merged == (low + step) // merged]
            step //= 2
        size *= 2
    return tuple(pairs)


def _sorted_rows(x_MxNxC: np.ndarray) -> list[np.ndarray]:
    """M values, ascending, in place of those of an array, which is used up.

    Whole rows are compared, which is faster than sorting columns.
    """
    rows, free = list(x_MxNxC), np.empty_like(x_MxNxC[0])
    for low, high in sorting_network(len(rows)):
        np.minimum(rows[low], rows[high], out=free)
        np.maximum(rows[low], rows[high], out=rows[high])
        rows[low], free = free, rows[low]
    return rows


def _member_means(x_MxNxC: np.ndarray, area: Area) -> np.ndarray:
    """Means over an area, float64 [M, N]."""
    return area.mean(x_MxNxC.reshape(-1, x_MxNxC.shape[-1])).reshape(x_MxNxC.shape[:2])


def _less(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    return np.subtract(one, other, dtype=np.float64)


def _by_field(
    function: Callable[..., np.ndarray], first: np.ndarray, *others: np.ndarray, members: int = 0
) -> np.ndarray:
    """A function of flattened fields [N, H * W], block by block, float64 [T, ..., what it gives for a field].

    Args:
      function: of one block of each array; it gives float64 [N, ...].
      first: [T, ..., H, W], or [M, T, ..., H, W] with members.
      others: [T, ..., H, W].
      members: M where `first` has them, else 0.
    """
    shape = first.shape[1:] if members else first.shape
    cells = shape[-2] * shape[-1]
    for other in others:
        if other.shape != shape:
            raise ValueError(f"fields of shapes {shape} and {other.shape} are compared")
    flat = first.reshape((members, -1, cells) if members else (-1, cells))
    rest = [other.reshape(-1, cells) for other in others]
    count = flat.shape[-2]
    made = [
        function(flat[..., rows, :], *(other[rows] for other in rest))
        for rows in _blocks(count, cells * max(members, 1))
    ]
    found = np.concatenate(made)
    return found.reshape(*shape[:-2], *found.shape[1:])


def _blocks(count: int, cells: int) -> Iterator[slice]:
    size = max(1, BLOCK // cells)
    for start in range(0, count, size):
        yield slice(start, start + size)
