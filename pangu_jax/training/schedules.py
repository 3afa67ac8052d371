"""Learning rate as a function of the step, named for recipes; the curves themselves are optax's."""

import gin
import optax


@gin.configurable
def constant_schedule(learning_rate: float = 1e-3, warmup: int = 0) -> optax.Schedule:
    """Linear warm-up from 0, then constant.

    Args:
      learning_rate: the value after warm-up.
      warmup: steps of warm-up.
    """
    return _after_warmup(optax.constant_schedule(learning_rate), learning_rate, warmup)


@gin.configurable
def cosine_schedule(
    steps: int = gin.REQUIRED, learning_rate: float = 1e-3, warmup: int = 0, final: float = 0.1
) -> optax.Schedule:
    """Linear warm-up from 0, then half a cosine down (Loshchilov & Hutter, arXiv 1608.03983).

    Args:
      steps: length of the run, warm-up included.
      learning_rate: the peak.
      warmup: steps of warm-up.
      final: share of the peak that is left at the end.
    """
    curve = optax.cosine_decay_schedule(learning_rate, max(1, steps - warmup), final)
    return _after_warmup(curve, learning_rate, warmup)


@gin.configurable
def linear_schedule(
    steps: int = gin.REQUIRED, learning_rate: float = 1e-3, warmup: int = 0, final: float = 0.0
) -> optax.Schedule:
    """Linear warm-up from 0, then linear decay.

    Args:
      steps: length of the run, warm-up included.
      learning_rate: the peak.
      warmup: steps of warm-up.
      final: share of the peak that is left at the end.
    """
    curve = optax.linear_schedule(learning_rate, learning_rate * final, max(1, steps - warmup))
    return _after_warmup(curve, learning_rate, warmup)


@gin.configurable
def inverse_sqrt_schedule(learning_rate: float = 1e-2, warmup: int = 10_000) -> optax.Schedule:
    """Linear warm-up from 0, then learning_rate * sqrt(warmup / step): T5's schedule (arXiv 1910.10683).

    Args:
      learning_rate: the peak.
      warmup: steps of warm-up, at least 1.
    """
    curve = lambda step: learning_rate * (warmup / (warmup + step)) ** 0.5  # noqa: E731
    return _after_warmup(curve, learning_rate, warmup)


def _after_warmup(curve: optax.Schedule, peak: float, warmup: int) -> optax.Schedule:
    if warmup == 0:
        return curve
    return optax.join_schedules([optax.linear_schedule(0.0, peak, warmup), curve], [warmup])
