"""How far a figure would be elsewhere with other examples: the bootstrap over them."""

from collections.abc import Callable

import numpy as np

RESAMPLES = 1000


def interval(value_N: np.ndarray, resamples: int = RESAMPLES, seed: int = 0) -> tuple[float, float]:
    """95% of the means of examples drawn anew with replacement (Efron, 1979), by percentiles.

    Of a difference between two models `value_N` holds each example's difference, so that they are paired.

    Args:
      value_N: of each example, such as 100 where the answer was right and 0 where not.
      resamples: how often they are drawn.
      seed: of the draws.
    """
    rng, count = np.random.default_rng(seed), len(value_N)
    means = [value_N[rng.integers(count, size=count)].mean() for _ in range(resamples)]
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)


def grouped_interval(
    statistic: Callable[[np.ndarray], float], group_N: np.ndarray, resamples: int = RESAMPLES, seed: int = 0
) -> tuple[float, float]:
    """The same of any statistic, where examples belong together: whole groups are drawn, such as a photo with
    all of its captions.

    Args:
      statistic: of how often each example was drawn, fp64 [N].
      group_N: int; the group of each example.
      resamples: how often groups are drawn.
      seed: of the draws.
    """
    groups, number_N = np.unique(group_N, return_inverse=True)
    rng, count = np.random.default_rng(seed), len(groups)
    found = []
    for _ in range(resamples):
        drawn_G = np.bincount(rng.integers(count, size=count), minlength=count).astype(np.float64)
        found.append(statistic(drawn_G[number_N]))
    low, high = np.percentile(found, [2.5, 97.5])
    return float(low), float(high)
