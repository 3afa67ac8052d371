"""Optimizers, named for recipes; the arithmetic is optax's."""

from dataclasses import dataclass
from typing import Any

import gin
import jax
import jax.numpy as jnp
import optax

from pangu_jax.training.schedules import constant_schedule


@dataclass(frozen=True)
class Optimizer:
    """A gradient transformation and the schedule inside it, which metrics report.

    Attributes:
      transformation: gradients -> updates, clipping included.
      schedule: step -> learning rate.
    """

    transformation: optax.GradientTransformation
    schedule: optax.Schedule


@gin.configurable
def adamw(
    schedule: optax.Schedule | None = None,
    beta1: float = 0.9,
    beta2: float = 0.95,
    epsilon: float = 1e-8,
    weight_decay: float = 0.01,
    clip: float = 1.0,
) -> Optimizer:
    """AdamW (Loshchilov & Hutter, arXiv 1711.05101), clipped by global norm; no decay of norms' scales.

    Args:
      schedule: step -> learning rate; `constant_schedule()` when None.
      beta1: decay of the first moment.
      beta2: decay of the second moment.
      epsilon: added to the root of the second moment.
      weight_decay: decoupled, times the learning rate.
      clip: largest global norm of the gradient; 0 does not clip.
    """
    schedule = schedule or constant_schedule()
    update = optax.adamw(
        schedule, b1=beta1, b2=beta2, eps=epsilon, weight_decay=weight_decay, mask=_is_weight
    )
    return Optimizer(_clipped(update, clip), schedule)


@gin.configurable
def adafactor(
    schedule: optax.Schedule | None = None,
    decay_rate: float = 0.8,
    weight_decay: float = 0.0,
    clip: float = 1.0,
) -> Optimizer:
    """Adafactor (Shazeer & Stern, arXiv 1804.04235): second moments in factored form, no momentum.

    Args:
      schedule: step -> learning rate; `constant_schedule()` when None.
      decay_rate: exponent of the second moment's decay.
      weight_decay: times the learning rate.
      clip: largest global norm of the gradient; 0 does not clip.
    """
    schedule = schedule or constant_schedule()
    update = optax.adafactor(
        schedule,
        decay_rate=decay_rate,
        weight_decay_rate=weight_decay or None,
        weight_decay_mask=_is_weight,
    )
    return Optimizer(_clipped(update, clip), schedule)


def _clipped(update: optax.GradientTransformation, clip: float) -> optax.GradientTransformation:
    return optax.chain(_clip_by_global_norm(clip), update) if clip else update


def _clip_by_global_norm(largest: float) -> optax.GradientTransformation:
    """As optax.clip_by_global_norm, by one multiplication that fuses into what follows."""

    def update(grads, state, params=None):
        del params
        scale = jnp.minimum(1.0, largest / jnp.maximum(optax.global_norm(grads), 1e-12))
        return jax.tree.map(lambda g: g * scale, grads), state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update)


def _is_weight(params: Any) -> Any:
    """True for what is multiplied, False for the scales of norms."""
    return jax.tree_util.tree_map_with_path(lambda path, _: path[-1].key != "scale", params)


def state_bytes(optimizer: Optimizer, workload: Any) -> float:
    """Bytes of the optimizer's state a parameter; nothing is allocated, and no device looked for."""
    params = jax.eval_shape(lambda: workload.init(jax.random.key(0)))
    state = jax.eval_shape(optimizer.transformation.init, params)
    size = lambda tree: sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))  # noqa: E731
    return size(state) / sum(leaf.size for leaf in jax.tree.leaves(params))
