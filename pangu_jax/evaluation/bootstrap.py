"""How far a figure would be elsewhere with other examples: the bootstrap over them."""

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
