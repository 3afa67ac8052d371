"""Losses of labels that may be wrong."""

from dataclasses import dataclass

import gin
import jax
import jax.numpy as jnp

from pangu_jax.errors import UserError


@gin.configurable
@dataclass(frozen=True)
class CrossEntropy:
    """-log p of the label."""

    def __call__(self, logits_BxC: jax.Array, label_B: jax.Array) -> jax.Array:
        """[B]."""
        return -own_log_probability(logits_BxC, label_B)


@gin.configurable
@dataclass(frozen=True)
class GeneralisedCrossEntropy:
    """(1 - p^q) / q: between cross-entropy (q = 0) and the mean absolute error (q = 1), which wrong labels
    move less (Zhang and Sabuncu, arXiv 1805.07836).

    Args:
      q: above 0 and at most 1.
    """

    q: float = 0.7

    def __post_init__(self):
        if not 0 < self.q <= 1:
            raise UserError(f"GeneralisedCrossEntropy.q = {self.q}: above 0 and at most 1")

    def __call__(self, logits_BxC: jax.Array, label_B: jax.Array) -> jax.Array:
        """[B]."""
        return (1 - jnp.exp(self.q * own_log_probability(logits_BxC, label_B))) / self.q


LabelLoss = CrossEntropy | GeneralisedCrossEntropy


def own_log_probability(logits_BxC: jax.Array, label_B: jax.Array) -> jax.Array:
    """log p of each row's label, [B]; of class 0 where the label is -1."""
    logs_BxC = jax.nn.log_softmax(logits_BxC)
    return jnp.take_along_axis(logs_BxC, jnp.maximum(label_B, 0)[:, None], axis=1)[:, 0]
