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


def reliability(probability_NxC: np.ndarray, label_N: np.ndarray, bins: int = BINS) -> Reliability:
    """Answers binned by the probability of the likeliest class.

    Args:
      probability_NxC: rows add up to 1.
      label_N: int.
      bins: of equal width; a confidence on the border of two is in the lower one.
    """
    confidence_N = probability_NxC.max(1).astype(np.float64)
    right_N = probability_NxC.argmax(1) == label_N
    bin_N = np.clip(np.ceil(confidence_N * bins).astype(int) - 1, 0, bins - 1)
    counts_B = np.bincount(bin_N, minlength=bins)
    some = np.maximum(counts_B, 1)
    confidence_B = np.bincount(bin_N, confidence_N, bins) / some
    return Reliability(counts_B, confidence_B, np.bincount(bin_N, right_N, bins) / some)
