"""Times of states as whole hours since 1900: what a store, its batches and its files count by."""

import numpy as np

from data_pipelines.errors import DataError

EPOCH = np.datetime64("1900-01-01T00", "h")


def since(times_N: np.ndarray) -> np.ndarray:
    """int64 hours since 1900-01-01 of datetime64."""
    return (np.asarray(times_N, "datetime64[h]") - EPOCH).astype(np.int64)


def at(hours_N: np.ndarray) -> np.ndarray:
    """datetime64[h] of hours since 1900-01-01."""
    return EPOCH + np.asarray(hours_N, np.int64).astype("timedelta64[h]")


def ascending(times: np.ndarray) -> np.ndarray:
    """Times as datetime64[h].

    Raises:
      DataError: there are none, one is no whole hour, or they do not ascend.
    """
    given_N = np.asarray(times)
    times_N = given_N.astype("datetime64[h]")
    if not len(times_N):
        raise DataError("a store of no times")
    odd = np.flatnonzero(times_N != given_N)
    if len(odd):
        raise DataError(f"a store's times are whole hours, not {given_N[odd[0]]}")
    back = np.flatnonzero(np.diff(times_N).astype(np.int64) <= 0)
    if len(back):
        raise DataError(
            f"a store's times ascend, each once: {times_N[back[0] + 1]} stands after {times_N[back[0]]}"
        )
    return times_N
