"""Initial states of an ensemble: smooth noise, as large as a share of what the weather changes over a lead.

The noise is isotropic on the sphere and knows no poles and no seam: a sum of waves in space, of drawn
directions and phases, on the places of the grid (random Fourier features: Rahimi and Recht, 2007). Its
covariance falls as exp(-d^2 / 2 l^2) with the straight distance d; on levels at a ratio e of pressure a
variable's noise is correlated by exp(-1/2).
"""

from collections.abc import Iterator

import numpy as np

from data_pipelines.fields.grid import Grid
from data_pipelines.fields.statistics import Statistics
from data_pipelines.fields.variables import FieldNames
from pangu_jax.errors import UserError

RADIUS = 6371.0  # km
WAVES = 192
NOT_BELOW_0 = ("q", "tp")
LARGEST, MOST = 10.0, 10_000

State = tuple[np.ndarray, np.ndarray]  # upper float32 [L, H, W, U], surface [H, W, S]


def require(members: int, perturbation: float, length_km: float) -> None:
    """UserError for an ensemble that cannot be."""
    if not 1 <= members <= MOST:
        raise UserError(f"--members {members}: give 1 to {MOST}")
    if not 0 < perturbation <= LARGEST:
        raise UserError(
            f"--perturbation {perturbation}: give a share of a deviation above 0, at most {LARGEST:g}"
        )
    if not 50 <= length_km <= 20_000:
        raise UserError(f"--perturbation_km {length_km}: give 50 to 20000 km")


def member(
    number: int,
    state: State,
    grid: Grid,
    names: FieldNames,
    change: Statistics,
    share: float,
    length_km: float,
    seed: int,
) -> State:
    """An initial state of an ensemble.

    Args:
      number: the member; 0 is the state as it is.
      state: physical units.
      grid: its own.
      names: of its variables.
      change: whose deviations noise of share 1 has.
      share: of them.
      length_km: of correlation.
      seed: decides the noise, with the member and the variable: what other members there are does not matter.
    """
    if number == 0:
        return state
    up_L = -np.log(np.maximum(grid.level_L, 1e-6))
    upper_LxHxWxU, surface_HxWxS = (np.array(part, np.float32) for part in state)
    for at, (name, noise_LxHxW) in enumerate(_noises(number, names.upper, grid, up_L, length_km, (seed, 0))):
        std_L = change.upper_std_LxU[:, at].astype(np.float32)
        upper_LxHxWxU[..., at] = _added(
            name, upper_LxHxWxU[..., at], share * std_L[:, None, None] * noise_LxHxW
        )
    surface = _noises(number, names.surface, grid, np.zeros(1), length_km, (seed, 1))
    for at, (name, noise_LxHxW) in enumerate(surface):
        std = np.float32(share * change.surface_std_S[at])
        surface_HxWxS[..., at] = _added(name, surface_HxWxS[..., at], std * noise_LxHxW[0])
    return upper_LxHxWxU, surface_HxWxS


def noise(grid: Grid, heights_L: np.ndarray, length_km: float, rng: np.random.Generator) -> np.ndarray:
    """Smooth noise of mean 0 and deviation 1, float32 [L, H, W].

    Args:
      grid: whose latitudes and longitudes are taken.
      heights_L: of levels, in units of the distance over which they are correlated.
      length_km: of correlation.
      rng: draws it.
    """
    latitude, longitude = np.deg2rad(grid.latitude_H), np.deg2rad(grid.longitude_W)
    place_HxWx3 = np.stack(
        np.broadcast_arrays(
            np.cos(latitude)[:, None] * np.cos(longitude), np.cos(latitude)[:, None] * np.sin(longitude),
            np.sin(latitude)[:, None],
        ),
        -1,
    ).astype(np.float32)  # fmt: skip
    waves_3xN = (rng.normal(size=(3, WAVES)) * RADIUS / length_km).astype(np.float32)
    up_N, phase_N = (
        rng.normal(size=WAVES).astype(np.float32),
        rng.uniform(0, 2 * np.pi, WAVES).astype(np.float32),
    )
    shift_LxN = phase_N + np.asarray(heights_L, np.float32)[:, None] * up_N
    # cos(a + b) by both parts: the levels share what is costly.
    both_Lx2N = np.concatenate([np.cos(shift_LxN), -np.sin(shift_LxN)], 1)
    made = np.empty((len(heights_L), *place_HxWx3.shape[:2]), np.float32)
    for row, place_Wx3 in enumerate(place_HxWx3):
        angle_WxN = place_Wx3 @ waves_3xN
        made[:, row] = both_Lx2N @ np.concatenate([np.cos(angle_WxN), np.sin(angle_WxN)], 1).T
    return made * np.float32(np.sqrt(2 / WAVES))


def _noises(
    number: int, names: tuple[str, ...], grid: Grid, up_L: np.ndarray, length_km: float, seed: tuple[int, int]
) -> Iterator[tuple[str, np.ndarray]]:
    for at, name in enumerate(names):
        yield name, noise(grid, up_L, length_km, np.random.default_rng([*seed, number, at]))


def _added(name: str, field: np.ndarray, noise: np.ndarray) -> np.ndarray:
    made = field + noise
    return np.maximum(made, np.minimum(field, 0)) if name in NOT_BELOW_0 else made
