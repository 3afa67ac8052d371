"""The low modes of a periodic field: a Fourier transform that stops there, and its inverse, as products.

Fourier neural operators (Li et al., arXiv 2010.08895) use few modes of many. Products by a part of the DFT's
matrix give those alone, on a TPU as fast as any product, and leave nothing to be cut out of a spectrum, where
public code went wrong: of the last axis of a real field half of the spectrum is enough, of every other axis
BOTH ends are needed; an odd number of points has no Nyquist mode; an even number has one whose sine the grid
does not see. Modes here are those strictly below Nyquist: what the grid does not have stays zero, so one set
of weights serves every grid.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np


class FieldModes(NamedTuple):
    """Coefficients of a real field at low wave numbers, fp32.

    The last axis has wave numbers 0 .. K-1, every axis before it -(K-1) .. K-1, in this order.

    Attributes:
      real: [B, *modes, D].
      imaginary: the same.
    """

    real: jax.Array
    imaginary: jax.Array


def mode_shape(dimensions: int, modes: int) -> tuple[int, ...]:
    """How many modes each axis of a field has."""
    return (2 * modes - 1,) * (dimensions - 1) + (modes,)


def low_modes(x: jax.Array, modes: int) -> FieldModes:
    """x [B, *points, D], real, to its modes: sums over points of x exp(-2 pi i k n / N), divided by all N.

    Args:
      x: on a regular periodic grid of any size.
      modes: K, from 1 on.
    """
    dimensions = x.ndim - 2
    cosine, sine = _matrices(x.shape[-2], modes, half=True)
    real, imaginary = _along(x, cosine, dimensions), -_along(x, sine, dimensions)
    for axis in range(dimensions - 1, 0, -1):
        cosine, sine = _matrices(x.shape[axis], modes, half=False)
        real, imaginary = (
            _along(real, cosine, axis) + _along(imaginary, sine, axis),
            _along(imaginary, cosine, axis) - _along(real, sine, axis),
        )
    points = np.prod(x.shape[1:-1])
    return FieldModes(real / points, imaginary / points)


def field(modes: FieldModes, points: tuple[int, ...]) -> jax.Array:
    """The real field [B, *points, D] of some modes: the inverse of `low_modes` on what it keeps."""
    dimensions = len(points)
    real, imaginary = modes
    kept = real.shape[-2]
    for axis in range(1, dimensions):
        cosine, sine = (matrix.T for matrix in _matrices(points[axis - 1], kept, half=False))
        real, imaginary = (
            _along(real, cosine, axis) - _along(imaginary, sine, axis),
            _along(imaginary, cosine, axis) + _along(real, sine, axis),
        )
    # Every mode of the last axis but 0 stands for its conjugate, too.
    twice = np.where(np.arange(kept) > 0, 2.0, 1.0).astype(np.float32)[:, None]
    cosine, sine = (matrix.T * twice for matrix in _matrices(points[-1], kept, half=True))
    return _along(real, cosine, dimensions) - _along(imaginary, sine, dimensions)


def _along(x: jax.Array, matrix_MxN: np.ndarray, axis: int) -> jax.Array:
    """x with its dimension `axis` of M multiplied by a matrix [M, N]."""
    moved = jax.lax.dot_general(x, matrix_MxN.astype(x.dtype), (((axis,), (0,)), ((), ())))
    return jnp.moveaxis(moved, -1, axis)


@functools.cache
def _matrices(points: int, modes: int, half: bool) -> tuple[np.ndarray, np.ndarray]:
    """cos and sin of 2 pi k n / N, fp32 [N, K] for k from 0 on or [N, 2K-1] for both ends; zero where the
    grid has no such mode."""
    k = np.arange(0 if half else 1 - modes, modes)
    # Whole turns are taken off as integers: a float32 of a large k n would not know where in a turn it is.
    turns = (np.outer(np.arange(points), k) % points) * (2 * np.pi / points)
    there = 2 * np.abs(k) < points
    return (np.cos(turns) * there).astype(np.float32), (np.sin(turns) * there).astype(np.float32)
