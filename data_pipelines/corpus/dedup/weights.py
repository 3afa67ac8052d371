"""How often a document should be seen that others said too."""

import itertools
from collections.abc import Sequence

import gin
import numpy as np

from data_pipelines.errors import DataError


@gin.configurable(module="data_pipelines.corpus.dedup")
def repeat_weight(
    size: np.ndarray,
    sizes: Sequence[int] = (1, 2, 3, 5, 100, 1000),
    weights: Sequence[float] = (1, 2, 3, 5, 8, 1),
) -> np.ndarray:
    """Weight of a document that represents `size` documents: float64, the shape of `size`.

    What many pages say is as a rule worth more than what one says, and what thousands say is boilerplate.
    The defaults are FineWeb-2's (Penedo et al. 2025, arXiv 2506.20920).

    Args:
      size: integers from 1, as `apply` gives them in `cluster_size`.
      sizes: ascending from 1: where each weight begins to hold.
      weights: as many.

    Raises:
      DataError: sizes or weights that are no such thing.
    """
    ascending = all(a < b for a, b in itertools.pairwise(sizes))
    if not sizes or sizes[0] != 1 or not ascending or len(sizes) != len(weights) or min(weights) < 0:
        raise DataError(
            f"repeat_weight: sizes {tuple(sizes)} must ascend from 1, with a weight from 0 for each; "
            f"the weights are {tuple(weights)}"
        )
    return np.asarray(weights, np.float64)[np.searchsorted(sizes, size, "right") - 1]
