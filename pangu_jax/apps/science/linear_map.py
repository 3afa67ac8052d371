"""Linear maps as forecasts: what a network must beat before it has shown anything.

States are anomalies from the climate in units of each variable's deviation on its level, cells weighted by
the root of their area: then sums of squares are what an error over the globe counts. Of those the leading
principal components are kept, and a ridge regression maps them to the components one lead later; what the
components do not hold is forecast as the climate. How many components and how large a ridge is chosen on the
last sixth of the states that are learnt from, never on those that are forecast.

The plain map takes all cells as they are. On a planet without land nothing tells one longitude from another,
and a map that knows it is far better from the same days: by wave number along circles of latitude, each with
components and a regression of its own ("zonal").
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from pangu_jax.errors import UserError

State = tuple[np.ndarray, np.ndarray]  # upper [..., L, H, W, U], surface [..., H, W, S]
Read = Callable[[int], State]

COMPONENTS = (50, 100, 200, 400)
RIDGES = (1e-4, 1e-3, 1e-2, 1e-1)  # shares of a component's mean variance
AT_MOST = (
    1000  # states that principal components of more cells than states are taken of, evenly over their time
)


@dataclass(frozen=True)
class MapBlock:
    """Numbers that are mapped by themselves: those of all cells, or of one wave number.

    Attributes:
      directions_FxK: principal components, orthonormal, float32 or complex64.
      map_KxK: of a row of components to the next.
    """

    directions_FxK: np.ndarray
    map_KxK: np.ndarray

    def step(self, rows_BxF: np.ndarray) -> np.ndarray:
        """One lead later."""
        return rows_BxF @ self.directions_FxK @ self.map_KxK @ self.directions_FxK.conj().T


@dataclass(frozen=True)
class LinearMap:
    """A map from a state to the one a lead later.

    Attributes:
      mean: the climate: upper [L, H, W, U] and surface [H, W, S], physical units.
      scale: what an anomaly is divided by, broadcast to those.
      blocks: by wave number from 0 on; one of all cells where it is not zonal.
      zonal: whether it is by wave number.
      components: how many were chosen, at most, of a block.
      ridge: that was chosen.
    """

    mean: State
    scale: State
    blocks: tuple[MapBlock, ...]
    zonal: bool
    components: int
    ridge: float

    def step(self, upper: np.ndarray, surface: np.ndarray) -> State:
        """States [B, ...] one lead later, float32."""
        rows_BxRxW = anomalies((upper, surface), self.mean, self.scale)
        parts = [
            block.step(part) for block, part in zip(self.blocks, _cut(rows_BxRxW, self.zonal), strict=True)
        ]
        moved_BxRxW = _joined(parts, rows_BxRxW.shape, self.zonal)
        levels, latitudes, longitudes, variables = self.mean[0].shape
        border = levels * latitudes * variables
        above = moved_BxRxW[:, :border].reshape(-1, levels, latitudes, variables, longitudes)
        below = moved_BxRxW[:, border:].reshape(len(upper), latitudes, -1, longitudes)
        made = (
            (part.swapaxes(-1, -2) * scale + mean).astype(np.float32)
            for part, scale, mean in zip((above, below), self.scale, self.mean, strict=True)
        )
        upper, surface = made
        return upper, surface


def anomalies(states: State, mean: State, scale: State) -> np.ndarray:
    """States [B, ...] from the climate, in units of `scale`, float32 [B, rows of a longitude, W]."""
    parts = ((part - m) / s for part, m, s in zip(states, mean, scale, strict=True))
    longitudes = states[0].shape[-2]
    return np.concatenate(
        [part.swapaxes(-1, -2).reshape(len(part), -1, longitudes) for part in parts], 1
    ).astype(np.float32)


def fit(
    read: Read,
    places: Sequence[int],
    later: Sequence[int],
    deviations: State,
    weights_H: np.ndarray,
    zonal: bool,
    components: Sequence[int] = COMPONENTS,
    ridges: Sequence[float] = RIDGES,
) -> LinearMap:
    """The map of some states to those a lead later.

    Args:
      read: the state at a place.
      places: of states to learn from, ascending.
      later: place of the state one lead after each.
      deviations: of variables by level, upper [L, U] and surface [S].
      weights_H: of latitudes, mean 1.
      zonal: whether all longitudes are alike, around the whole globe.
      components: numbers to choose from.
      ridges: shares of a component's mean variance to choose from.

    Raises:
      UserError: too few states, or one with missing values.
    """
    if len(places) < 12:
        raise UserError(f"a linear map of {len(places)} pairs of states: give a dozen at least")
    every = np.unique([*places, *later])
    of_place = {int(place): row for row, place in enumerate(every)}
    upper, surface = (np.stack(parts) for parts in zip(*(read(int(p)) for p in every), strict=True))
    if not (np.isfinite(upper).all() and np.isfinite(surface).all()):
        raise UserError("a linear map needs states without missing values")
    mean = _climate(upper, zonal), _climate(surface, zonal)
    area_Hx1x1 = np.sqrt(np.maximum(weights_H, 1e-12))[:, None, None]
    deviation_Lx1x1xU, deviation_S = deviations[0][:, None, None, :], deviations[1]
    scale = deviation_Lx1x1xU / area_Hx1x1, deviation_S / area_Hx1x1
    rows = _cut(anomalies((upper, surface), mean, scale), zonal)
    now, then = ([of_place[int(place)] for place in side] for side in (places, later))
    counts = np.array(sorted(set(components)))
    error_CxR = np.zeros((len(counts), len(ridges)))
    held = []
    for rows_NxF in rows:
        directions_FxK = _principal(rows_NxF[: max(now) + 1], int(counts[-1]))
        held_NxK = rows_NxF @ directions_FxK
        total = float(np.sum(np.square(np.abs(rows_NxF[then[len(now) * 5 // 6 :]])), dtype=np.float64))
        error_CxR += _errors(held_NxK, total, now, then, counts, ridges)
        held.append((directions_FxK, held_NxK))
    best = np.unravel_index(np.argmin(error_CxR), error_CxR.shape)
    count, ridge = int(counts[best[0]]), float(ridges[int(best[1])])
    blocks = tuple(
        MapBlock(
            directions[:, :count],
            _solved(*_products(kept[now, :count], kept[then, :count]), ridge).astype(kept.dtype),
        )
        for directions, kept in held
    )
    return LinearMap(mean, scale, blocks, zonal, count, ridge)


def _climate(states: np.ndarray, zonal: bool) -> np.ndarray:
    mean = states.mean(0, dtype=np.float64)
    return np.broadcast_to(mean.mean(-2, keepdims=True), mean.shape) if zonal else mean


def _cut(rows_BxRxW: np.ndarray, zonal: bool) -> list[np.ndarray]:
    """[B, F] of each block; sums of squares stay what they are."""
    if not zonal:
        return [rows_BxRxW.reshape(len(rows_BxRxW), -1)]
    spectrum_MxBxR = np.moveaxis(np.fft.rfft(rows_BxRxW, norm="ortho"), -1, 0)
    factor_M = _factors(rows_BxRxW.shape[-1])
    return [
        (part * factor).astype(np.complex64) for part, factor in zip(spectrum_MxBxR, factor_M, strict=True)
    ]


def _joined(parts: Sequence[np.ndarray], shape: tuple[int, ...], zonal: bool) -> np.ndarray:
    """The inverse of `_cut`."""
    if not zonal:
        return parts[0].reshape(shape)
    spectrum_BxRxM = np.stack([p / f for p, f in zip(parts, _factors(shape[-1]), strict=True)], -1)
    return np.fft.irfft(spectrum_BxRxM, shape[-1], norm="ortho")


def _factors(longitudes: int) -> np.ndarray:
    """Every wave number but 0 and Nyquist stands for its conjugate, too."""
    wave_M = np.arange(longitudes // 2 + 1)
    return np.where((wave_M > 0) & (2 * wave_M < longitudes), np.sqrt(2), 1.0)


def _errors(
    held_NxK: np.ndarray,
    total: float,
    now: list[int],
    then: list[int],
    counts: np.ndarray,
    ridges: Sequence[float],
) -> np.ndarray:
    """Squared errors on the last sixth, by how many components and which ridge; what components do not hold
    of the truth's `total` is an error, too."""
    border = len(now) * 5 // 6
    found = np.zeros((len(counts), len(ridges)))
    power_KxK, cross_KxK = _products(held_NxK[now[:border]], held_NxK[then[:border]])
    for row, count in enumerate(counts):
        some_NxK, all_KxK, to_KxK = held_NxK[:, :count], power_KxK[:count, :count], cross_KxK[:count, :count]
        truth = some_NxK[then[border:]]
        rest = total - float(np.sum(np.square(np.abs(truth)), dtype=np.float64))
        for column, ridge in enumerate(ridges):
            made = some_NxK[now[border:]] @ _solved(all_KxK, to_KxK, ridge).astype(held_NxK.dtype)
            found[row, column] = np.sum(np.square(np.abs(made - truth)), dtype=np.float64) + rest
    return found


def _principal(rows_NxF: np.ndarray, count: int) -> np.ndarray:
    """Leading principal directions [F, K], by the smaller of the two matrices of products."""
    if rows_NxF.shape[1] <= len(rows_NxF):
        values, vectors = np.linalg.eigh(rows_NxF.conj().T @ rows_NxF)
        kept = _leading(values, count)
        return vectors[:, kept]
    some_MxF = rows_NxF[np.unique(np.linspace(0, len(rows_NxF) - 1, min(AT_MOST, len(rows_NxF))).astype(int))]
    values, vectors = np.linalg.eigh(
        (some_MxF @ some_MxF.conj().T).astype(np.result_type(some_MxF, np.float64))
    )
    kept = _leading(values, count)
    return (some_MxF.conj().T @ (vectors[:, kept] / np.sqrt(values[kept]))).astype(rows_NxF.dtype)


def _leading(values: np.ndarray, count: int) -> np.ndarray:
    """Places of the largest values, those without anything in them left out; one at least."""
    order = np.argsort(values)[::-1][:count]
    return order[values[order] > 1e-7 * max(values.max(), 1e-30)] if values.max() > 0 else order[:1]


def _products(x_NxK: np.ndarray, y_NxK: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """x by x and x by y, [K, K], in float64 or complex128."""
    wide = np.result_type(x_NxK, np.float64)
    x, y = x_NxK.astype(wide), y_NxK.astype(wide)
    return x.conj().T @ x, x.conj().T @ y


def _solved(power_KxK: np.ndarray, cross_KxK: np.ndarray, ridge: float) -> np.ndarray:
    """Least squares [K, K] with a ridge beside the mean variance of a component."""
    beside = max(ridge * np.trace(power_KxK).real / len(power_KxK), 1e-30) * np.eye(len(power_KxK))
    return np.linalg.solve(power_KxK + beside, cross_KxK)
