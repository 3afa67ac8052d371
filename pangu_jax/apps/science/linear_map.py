"""A linear map as a forecast: what a network must beat before it has shown anything.

States are anomalies from the climate in units of each variable's deviation on its level, cells weighted by the root
of their area: then sums of squares are what an error over the globe counts. Of those the leading principal
components are kept, and a ridge regression maps them to the components one lead later; what the components do not
hold is forecast as the climate. How many components and how large a ridge is chosen on the last sixth of the states
that are learnt from, never on those that are forecast.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from pangu_jax.errors import UserError

State = tuple[np.ndarray, np.ndarray]  # upper [..., L, H, W, U], surface [..., H, W, S]
Read = Callable[[int], State]

COMPONENTS = (100, 200, 400, 800)
RIDGES = (1e-4, 1e-3, 1e-2, 1e-1)  # shares of a component's mean variance
AT_MOST = 1000  # states that principal components are taken of, evenly over their time


@dataclass(frozen=True)
class LinearMap:
    """A map from a state to the one a lead later.

    Attributes:
      mean: the climate: upper [L, H, W, U] and surface [H, W, S], physical units.
      scale: what an anomaly is divided by, broadcast to those.
      directions_FxK: principal components, orthonormal, float32.
      map_KxK: of a row of components to the next.
      ridge: that was chosen.
    """

    mean: State
    scale: State
    directions_FxK: np.ndarray
    map_KxK: np.ndarray
    ridge: float

    @property
    def components(self) -> int:
        """How many were chosen."""
        return self.directions_FxK.shape[1]

    def step(self, upper: np.ndarray, surface: np.ndarray) -> State:
        """States [B, ...] one lead later, float32."""
        moved = self._components((upper, surface)) @ self.map_KxK @ self.directions_FxK.T
        size = self.mean[0].size
        parts = moved[:, :size], moved[:, size:]
        upper, surface = (
            (part.reshape(len(moved), *mean.shape) * scale + mean).astype(np.float32)
            for part, scale, mean in zip(parts, self.scale, self.mean, strict=True)
        )
        return upper, surface

    def _components(self, states: State) -> np.ndarray:
        return anomalies(states, self.mean, self.scale) @ self.directions_FxK


def anomalies(states: State, mean: State, scale: State) -> np.ndarray:
    """States [B, ...] from the climate, in units of `scale`, float32 [B, F]."""
    rows = len(states[0])
    parts = ((part - m) / s for part, m, s in zip(states, mean, scale, strict=True))
    return np.concatenate([part.reshape(rows, -1) for part in parts], 1).astype(np.float32)


def fit(
    read: Read,
    places: Sequence[int],
    later: Sequence[int],
    deviations: State,
    weights_H: np.ndarray,
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
      components: numbers to choose from; those above the number of states are passed over.
      ridges: shares of a component's mean variance to choose from.

    Raises:
      UserError: too few states, or one with missing values.
    """
    if len(places) < 12:
        raise UserError(f"a linear map of {len(places)} pairs of states: give a dozen at least")
    every = np.unique([*places, *later])
    of_place = {int(place): row for row, place in enumerate(every)}
    states = tuple(np.stack(parts) for parts in zip(*(read(int(place)) for place in every), strict=True))
    upper, surface = states
    if not (np.isfinite(upper).all() and np.isfinite(surface).all()):
        raise UserError("a linear map needs states without missing values")
    mean = upper.mean(0, dtype=np.float64), surface.mean(0, dtype=np.float64)
    area_Hx1x1 = np.sqrt(np.maximum(weights_H, 1e-12))[:, None, None]
    deviation_Lx1x1xU, deviation_S = deviations[0][:, None, None, :], deviations[1]
    scale = deviation_Lx1x1xU / area_Hx1x1, deviation_S / area_Hx1x1
    rows_NxF = anomalies((upper, surface), mean, scale)
    now, then = ([of_place[int(place)] for place in side] for side in (places, later))
    directions_FxK = _principal(rows_NxF[: max(now) + 1], max(components))
    held_NxK = rows_NxF @ directions_FxK
    total_N = np.einsum("nf,nf->n", rows_NxF, rows_NxF)
    border = len(now) * 5 // 6
    best: tuple[float, int, float] | None = None
    for count in sorted({min(count, held_NxK.shape[1]) for count in components}):
        some_NxK = held_NxK[:, :count]
        for ridge in ridges:
            made = some_NxK[now[border:]] @ _ridge(some_NxK[now[:border]], some_NxK[then[:border]], ridge)
            # What the components do not hold of the truth is an error, too.
            rest = total_N[then[border:]].sum() - np.square(some_NxK[then[border:]]).sum()
            error = float(np.square(made - some_NxK[then[border:]]).sum() + rest)
            if best is None or error < best[0]:
                best = error, count, ridge
    assert best is not None
    _, count, ridge = best
    chosen_NxK = held_NxK[:, :count]
    map_KxK = _ridge(chosen_NxK[now], chosen_NxK[then], ridge)
    return LinearMap(mean, scale, directions_FxK[:, :count], map_KxK, ridge)


def _principal(rows_NxF: np.ndarray, count: int) -> np.ndarray:
    """Leading principal directions [F, K] by the products of states with states: they are fewer than cells."""
    some_MxF = rows_NxF[np.unique(np.linspace(0, len(rows_NxF) - 1, min(AT_MOST, len(rows_NxF))).astype(int))]
    values_M, vectors_MxM = np.linalg.eigh((some_MxF @ some_MxF.T).astype(np.float64))
    kept = np.argsort(values_M)[::-1][:count]
    kept = kept[values_M[kept] > 1e-7 * values_M.max()]
    return (some_MxF.T @ (vectors_MxM[:, kept] / np.sqrt(values_M[kept]))).astype(np.float32)


def _ridge(x_NxK: np.ndarray, y_NxK: np.ndarray, ridge: float) -> np.ndarray:
    """Least squares [K, K] with a ridge beside the mean variance of a component."""
    x, y = x_NxK.astype(np.float64), y_NxK.astype(np.float64)
    power_KxK = x.T @ x
    beside = ridge * np.trace(power_KxK) / len(power_KxK) * np.eye(len(power_KxK))
    return np.linalg.solve(power_KxK + beside, x.T @ y).astype(np.float32)
