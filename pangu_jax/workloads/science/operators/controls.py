"""What a learnt operator is measured beside, by NumPy: standing still, a linear map, and a cut spectrum."""

import numpy as np


def relative_l2(found_NxS: np.ndarray, truth_NxS: np.ndarray) -> float:
    """The mean over fields [N, *points] of |found - truth| / |truth|."""
    rows = len(truth_NxS)
    difference, size = (
        np.asarray(x, np.float64).reshape(rows, -1) for x in (found_NxS - truth_NxS, truth_NxS)
    )
    lengths = np.maximum(np.linalg.norm(size, axis=1), 1e-12)
    return float(np.mean(np.linalg.norm(difference, axis=1) / lengths))


class SpectralLinearMap:
    """Every mode times a number of its own: the best linear map that commutes with shifts of a periodic
    field.

    Fitted by least squares with a ridge; modes in which nothing was seen are given back as 0.

    Args:
      input_NxS: fields to learn from, float [N, *points].
      target_NxS: their targets.
      ridge: beside the mean power of a mode, as a share of the largest.
    """

    def __init__(self, input_NxS: np.ndarray, target_NxS: np.ndarray, ridge: float = 1e-9):
        self._axes = tuple(range(1, input_NxS.ndim))
        x, y = (
            np.fft.rfftn(np.asarray(part, np.float64), axes=self._axes) for part in (input_NxS, target_NxS)
        )
        power = np.mean(np.abs(x) ** 2, axis=0)
        self._gain = np.mean(np.conj(x) * y, axis=0) / (power + ridge * max(power.max(), 1e-300))

    def __call__(self, input_NxS: np.ndarray) -> np.ndarray:
        """Predicted targets of fields on the grid that was learnt from."""
        points = input_NxS.shape[1:]
        spectrum = np.fft.rfftn(np.asarray(input_NxS, np.float64), axes=self._axes) * self._gain
        return np.fft.irfftn(spectrum, points, self._axes).astype(np.float32)


def truncated(field_NxS: np.ndarray, modes: int) -> np.ndarray:
    """Fields with wave numbers below `modes` alone along every axis, and below Nyquist.

    Its distance from the field is the floor of an answer that is made of those modes.
    """
    axes = tuple(range(1, field_NxS.ndim))
    spectrum = np.fft.fftn(np.asarray(field_NxS, np.float64), axes=axes)
    for axis, points in zip(axes, field_NxS.shape[1:], strict=True):
        wave = np.abs(np.fft.fftfreq(points) * points)
        kept = (wave < modes) & (2 * wave < points)
        spectrum *= kept.reshape([-1 if at == axis else 1 for at in range(field_NxS.ndim)])
    return np.fft.ifftn(spectrum, axes=axes).real.astype(np.float32)
