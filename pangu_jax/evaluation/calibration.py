"""Calibration: whether what a classifier is sure of is right as often as it says."""

from typing import NamedTuple

import numpy as np

BINS = 15


class Reliability(NamedTuple):
    """Answers by how sure the classifier was of them.

    Attributes:
      counts_B: answers in each bin of confidence, from 0 to 1 in equal steps.
      confidence_B: their mean confidence; 0 where there is none.
      accuracy_B: the share that was right; 0 where there is none.
    """

    counts_B: np.ndarray
    confidence_B: np.ndarray
    accuracy_B: np.ndarray

    @property
    def error(self) -> float:
        """Expected calibration error: the mean distance of confidence and accuracy, weighted by answers (Guo
        et al., arXiv 1706.04599)."""
        far_B = np.abs(self.confidence_B - self.accuracy_B)
        return float((self.counts_B * far_B).sum() / self.counts_B.sum())


def reliability(confidence_N: np.ndarray, right_N: np.ndarray, bins: int = BINS) -> Reliability:
    """Answers binned by their confidence.

    Args:
      confidence_N: the probability that the classifier gave its answer, from 0 to 1.
      right_N: bool, whether it was right.
      bins: of equal width; a confidence on the border of two is in the lower one.
    """
    bin_N = np.clip(np.ceil(confidence_N.astype(np.float64) * bins).astype(int) - 1, 0, bins - 1)
    counts_B = np.bincount(bin_N, minlength=bins)
    some = np.maximum(counts_B, 1)
    confidence_B = np.bincount(bin_N, confidence_N, bins) / some
    return Reliability(counts_B, confidence_B, np.bincount(bin_N, right_N, bins) / some)
