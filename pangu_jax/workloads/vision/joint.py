"""A loss of several objectives: each divided by its running size, so that a weight means what it says.

Their scales differ a hundredfold (a residual of .02 beside a contrast of 5 nats). Which weights Pangu CV had
is not public; here the loss is

    sum over objectives of weight * loss / (moving average of that loss over the steps before)

The average is taken over whole batches, so it does not depend on how they are split.
"""

from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp

from pangu_jax.workloads import Tree
from pangu_jax.workloads.vision.model.objective import PictureObjective, Term

DECAY = 0.98  # of the moving averages: fifty steps
Sums = Mapping[str, tuple[jax.Array, jax.Array]]


def init(objectives: Sequence[PictureObjective]) -> Tree:
    """Moving averages before the first step, by objective and task; {} where a loss stands alone."""
    if len(objectives) < 2:
        return {}
    return {one.name: jnp.zeros((2, len(one.turns)), jnp.float32) for one in objectives}


def axes(objectives: Sequence[PictureObjective]) -> Tree:
    """Their logical axes."""
    return {one.name: (None, None) for one in objectives} if len(objectives) > 1 else {}


def size(running: Tree, objective: PictureObjective, task: int) -> jax.Array:
    """What a loss is divided by: its average size so far, and 1 before the first step."""
    if not running:
        return jnp.float32(1)
    total, weight = running[objective.name][:, task]
    return jnp.where(weight > 0, total / jnp.maximum(weight, 1e-6), 1.0)


def following(running: Tree, sizes: Sums) -> Tree:
    """The averages after a step.

    Args:
      running: those before it.
      sizes: objective -> sums [tasks] of its losses, and of examples, over the batch.
    """
    if not running:
        return {}
    found = {}
    for name, old in running.items():
        loss_T, count_T = sizes[name]
        here_T = count_T > 0
        new = jnp.stack([loss_T / jnp.maximum(count_T, 1.0), jnp.ones_like(loss_T)])
        found[name] = jnp.where(here_T, DECAY * old + (1 - DECAY) * new, old)
    return found


def of_tasks(
    term: Term, weight_B: jax.Array, objective: PictureObjective, task: int
) -> tuple[jax.Array, jax.Array]:
    """The sums that `following` wants of one objective, [tasks] each."""
    now_T = jax.nn.one_hot(task, len(objective.turns))
    return now_T * jnp.sum(term.loss_B * weight_B), now_T * jnp.sum(weight_B)
