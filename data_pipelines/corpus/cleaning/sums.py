"""Sums and shares over segments of an array."""

import numpy as np


def sums(values: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """int64 [segments]: sum of values[starts[s] : starts[s + 1]]. Segments may be empty."""
    out = np.zeros(len(starts) - 1, np.int64)
    filled = np.flatnonzero(np.diff(starts))
    if len(filled):
        # Truths are no more than characters, and 32 bits are added twice as fast as 64.
        own, kind = (values.view(np.uint8), np.int32) if values.dtype == bool else (values, np.int64)
        out[filled] = np.add.reduceat(own, starts[filled], dtype=kind)
    return out


def ratio(parts: np.ndarray, wholes: np.ndarray) -> np.ndarray:
    """float64: parts / wholes, 0 where there is no whole."""
    return np.divide(parts, wholes, out=np.zeros(len(wholes)), where=wholes > 0)
