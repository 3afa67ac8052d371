"""A linear probe by least squares, whose ridge is chosen by leaving one out (Allen, 1974: PRESS)."""

from typing import NamedTuple

import numpy as np

RIDGES = 10.0 ** np.arange(0, 7.01, 0.5)


class Probe(NamedTuple):
    """Linear in standardised features.

    Attributes:
      mean_F: of the features that it was fitted on.
      deviation_F: of them.
      weight_FxC: one column a class.
      share_C: of each class.
      ridge: that was chosen.
    """

    mean_F: np.ndarray
    deviation_F: np.ndarray
    weight_FxC: np.ndarray
    share_C: np.ndarray
    ridge: float

    def __call__(self, features_NxF: np.ndarray) -> np.ndarray:
        """Scores of the classes, [N, C]."""
        return (features_NxF - self.mean_F) / self.deviation_F @ self.weight_FxC + self.share_C


def ridge(features_NxF: np.ndarray, label_N: np.ndarray, classes: int) -> Probe:
    """The probe of these labels; nothing else decides its ridge.

    Args:
      features_NxF: of the labelled pictures.
      label_N: their classes.
      classes: how many there are.
    """
    mean_F, deviation_F = features_NxF.mean(0), features_NxF.std(0) + 1e-6
    x_NxF = ((features_NxF - mean_F) / deviation_F).astype(np.float64)
    wanted_NxC = np.eye(classes)[label_N]
    share_C = wanted_NxC.mean(0)
    wanted_NxC -= share_C
    count, width = x_NxF.shape
    # The smaller of the two matrices of products: both have the same eigenvalues, other zeros apart.
    if width < count:
        values_K, vectors_FxK = np.linalg.eigh(x_NxF.T @ x_NxF)
        keep_K = values_K > 1e-9 * values_K[-1]
        values_K, vectors_FxK = values_K[keep_K], vectors_FxK[:, keep_K]
        left_NxK = x_NxF @ vectors_FxK / np.sqrt(values_K)
    else:
        values_K, left_NxK = np.linalg.eigh(x_NxF @ x_NxF.T)
        keep_K = values_K > 1e-9 * values_K[-1]
        values_K, left_NxK = values_K[keep_K], left_NxK[:, keep_K]
        vectors_FxK = x_NxF.T @ left_NxK / np.sqrt(values_K)
    turned_KxC = left_NxK.T @ wanted_NxC

    def left_out(strength: float) -> float:
        shrink_K = values_K / (values_K + strength)
        own_N = left_NxK**2 @ shrink_K + 1 / count
        missed_NxC = (wanted_NxC - left_NxK @ (shrink_K[:, None] * turned_KxC)) / (1 - own_N)[:, None]
        return float(np.mean(missed_NxC**2))

    best = min(RIDGES, key=left_out)
    weight_FxC = vectors_FxK @ ((np.sqrt(values_K) / (values_K + best))[:, None] * turned_KxC)
    return Probe(mean_F, deviation_F, weight_FxC, share_C, float(best))
