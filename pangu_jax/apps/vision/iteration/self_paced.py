"""Bidirectional self-paced learning: pictures are admitted when they are easy, and withdrawn when they no
longer are.

Nothing is published under this name; chosen is self-paced learning's weight v = 1[loss < lambda] (Kumar et
al., 2010) with two thresholds on a moving average of the loss, so that membership has hysteresis:

    admitted below a_t, withdrawn above b_t > a_t, as it was between them; a and b grow every epoch
"""

from dataclasses import dataclass

import gin
import numpy as np

from pangu_jax.errors import UserError


@gin.configurable
@dataclass(frozen=True)
class SelfPaced:
    """Weights of 0 or 1, re-decided every epoch.

    Args:
      admit: share of pictures by loss that may come in at first: a is that quantile of the averages.
      withdraw: share above which they must leave: b is that quantile. As `admit`, without hysteresis.
      grow: added to both shares every epoch, until all are in.
      momentum: of the average of a picture's loss; 0 takes the last one.
      warmup: epochs in which all count.
    """

    admit: float = 0.5
    withdraw: float = 0.7
    grow: float = 0.05
    momentum: float = 0.7
    warmup: int = 2

    def __post_init__(self):
        if not 0 < self.admit <= self.withdraw <= 1 or not 0 <= self.momentum < 1:
            raise UserError(
                "SelfPaced: admit is above 0 and at most withdraw, which is at most 1; momentum below 1"
            )

    def members(self, member_N: np.ndarray, average_N: np.ndarray, epoch: int) -> np.ndarray:
        """Who counts in the next epoch, bool.

        Args:
          member_N: who counts now.
          average_N: moving averages of the loss, nan where a picture was not met yet: those stay as they are.
          epoch: number of the epoch that ended, from 0.
        """
        met_N = np.isfinite(average_N)
        if epoch < self.warmup or not met_N.any():
            return member_N
        later = self.grow * (epoch - self.warmup)
        a, b = np.quantile(average_N[met_N], [min(1.0, self.admit + later), min(1.0, self.withdraw + later)])
        found_N = member_N.copy()
        found_N[met_N & (average_N <= a)] = True
        found_N[met_N & (average_N > b)] = False
        return found_N
