"""Learned positions of one grid on another: cubic interpolation with antialiasing, row by row and column by
column.

The kernel is Keys' with a = -.5, widened where a grid shrinks; what it reaches of the outside is left out and
the rest weighs 1. So timm resizes positions (`resample_abs_pos_embed`, which is PyTorch's `interpolate` with
mode "bicubic" and antialias), Pillow's BICUBIC pictures, and `jax.image.resize` with "cubic".
"""

import functools
import math

import numpy as np

SHARPNESS = -0.5  # Keys' a
REACH = 2.0  # of the kernel, in places of the coarser grid


@functools.cache
def weights(old: int, new: int) -> np.ndarray:
    """What each of `new` places takes of each of `old`, along one side: fp64 [new, old], rows of sum 1."""
    wide = max(old / new, 1.0)
    centres_N = (np.arange(new) + 0.5) * old / new
    away_NxO = np.abs(np.arange(old) + 0.5 - centres_N[:, None]) / wide
    near = (SHARPNESS + 2) * away_NxO**3 - (SHARPNESS + 3) * away_NxO**2 + 1
    far = SHARPNESS * (away_NxO**3 - 5 * away_NxO**2 + 8 * away_NxO - 4)
    kernel_NxO = np.where(away_NxO <= 1, near, np.where(away_NxO < REACH, far, 0.0))
    kernel_NxO /= kernel_NxO.sum(axis=1, keepdims=True)
    kernel_NxO.flags.writeable = False
    return kernel_NxO


def resized(positions_UxD: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """Positions of a square grid, row by row, on another: [rows * columns, D], of their dtype.

    Raises:
      ValueError: their number is no square.
    """
    side = square(len(positions_UxD))
    if side is None:
        raise ValueError(f"{len(positions_UxD)} positions are no square grid")
    if (rows, columns) == (side, side):
        return positions_UxD
    grid_SxSxD = positions_UxD.astype(np.float64).reshape(side, side, -1)
    made_RxCxD = np.einsum("rs,ct,std->rcd", weights(side, rows), weights(side, columns), grid_SxSxD)
    return made_RxCxD.reshape(rows * columns, -1).astype(positions_UxD.dtype)


def square(count: int) -> int | None:
    """The side of a square of `count` places; None where it is none."""
    side = math.isqrt(count)
    return side if side * side == count else None
