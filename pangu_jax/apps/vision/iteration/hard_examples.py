"""An increment of hard examples: what a head gets wrong is mined and learnt, with equal replay."""

from dataclasses import dataclass, field
from typing import Literal

import gin
import jax.numpy as jnp
import numpy as np
from scipy import special

from pangu_jax.apps.vision.iteration import heads
from pangu_jax.apps.vision.iteration.heads import Params
from pangu_jax.apps.vision.iteration.increments.head_fit import HeadFit
from pangu_jax.apps.vision.iteration.increments.replay import cross_entropy
from pangu_jax.errors import UserError


@gin.configurable
@dataclass(frozen=True)
class HardExamples:
    """Fine-tuning on mined errors and equal replay.

    Args:
      fit: how heads learn; at a low rate.
      count: new pictures that are learnt, and as many old ones.
      mined: "errors", the surest mistakes first; "random", the control.
    """

    fit: HeadFit = field(default_factory=lambda: HeadFit(epochs=5, learning_rate=5e-4))
    count: int = 1000
    mined: Literal["errors", "random"] = "errors"

    def __post_init__(self):
        if self.mined not in ("errors", "random"):
            raise UserError(f"HardExamples.mined = {self.mined!r}: it is 'errors' or 'random'")

    def __call__(
        self,
        params: Params,
        views_NxVxF: np.ndarray,
        label_N: np.ndarray,
        new: np.ndarray,
        old: np.ndarray,
        seed: int,
    ) -> Params:
        """The head after it.

        Args:
          params: the head before.
          views_NxVxF: features, plain view first.
          label_N: int.
          new: rows that have arrived, with labels.
          old: rows that it was learnt from.
          seed: of what is drawn.
        """
        rng = np.random.default_rng([seed, 41])
        if self.mined == "errors":
            chosen = hardest(params, views_NxVxF[new, 0], label_N[new], self.count)
            learnt = new[chosen]
        else:
            learnt = rng.permutation(new)[: self.count]
        rows = np.concatenate([learnt, rng.permutation(old)[: len(learnt)]])
        seen = jnp.ones(params["out"]["bias"].shape[0], bool)
        return self.fit(cross_entropy, params, views_NxVxF, label_N, rows, seen, seed)


def hardest(params: Params, features_NxF: np.ndarray, label_N: np.ndarray, count: int) -> np.ndarray:
    """Rows that a head gets wrong, those with the highest loss first, int; at most `count`."""
    logits = heads.answers(params, features_NxF)
    own = np.take_along_axis(special.log_softmax(logits, axis=1), label_N[:, None], 1)[:, 0]
    order = np.argsort(own, kind="stable")
    return order[logits[order].argmax(1) != label_N[order]][:count]
