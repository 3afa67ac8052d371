"""Replay alone, and the controls: all data, and nothing but the memory."""

from dataclasses import dataclass, field

import gin
import jax
import jax.numpy as jnp
import numpy as np

from pangu_jax.apps.vision.iteration import heads
from pangu_jax.apps.vision.iteration.heads import HeadShape, Params
from pangu_jax.apps.vision.iteration.increments.head_fit import UNSEEN, HeadFit
from pangu_jax.apps.vision.iteration.increments.method import IncrementLearnt, State
from pangu_jax.apps.vision.iteration.increments.task import IncrementTask
from pangu_jax.apps.vision.iteration.label_losses import own_log_probability


def cross_entropy(params: Params, x_BxF: jax.Array, label_B: jax.Array, given: jax.Array) -> jax.Array:
    """Over the classes that have arrived, `given` bool [C]."""
    logits_BxC = jnp.where(given, heads.logits(params, x_BxF), UNSEEN)
    return -jnp.mean(own_log_probability(logits_BxC, label_B))


def fresh(fit: HeadFit, task: IncrementTask) -> Params:
    """A head for all classes of the set, those to come included: they have their numbers from the start."""
    shape = HeadShape(task.views_NxVxF.shape[2], fit.hidden, len(task.seen_C))
    return heads.init(shape, jax.random.key(task.seed))


def spent(fit: HeadFit, task: IncrementTask, rows: int, passes: int = 3) -> float:
    """FLOPs of learning from so many rows; an old head that teaches adds a pass."""
    shape = HeadShape(task.views_NxVxF.shape[2], fit.hidden, len(task.seen_C))
    return float(passes * shape.flops * fit.steps(rows) * fit.batch_size)


def seen_scores(params: Params, features_MxF: np.ndarray, seen_C: np.ndarray) -> np.ndarray:
    """Logits, those of classes that have not arrived lowest."""
    return np.where(seen_C, heads.answers(params, features_MxF), UNSEEN)


def from_fresh(fit: HeadFit, task: IncrementTask, rows: np.ndarray, looked: int) -> IncrementLearnt:
    """A head that is learnt anew from these rows, which are kept.

    Args:
      fit: how.
      task: the increment.
      rows: of pictures.
      looked: pictures that the trunk had to look at.
    """
    given = task.views_NxVxF, task.label_N, rows, jnp.asarray(task.seen_C)
    head = fit(cross_entropy, fresh(fit, task), *given, task.seed)
    return IncrementLearnt(
        {"head": head}, spent(fit, task, len(rows)), task.picture_bytes * len(rows), looked
    )


@gin.configurable
@dataclass(frozen=True)
class Replay:
    """New pictures and the memory by cross-entropy, from the head before: what every method is held against.

    Args:
      fit: how heads learn.
    """

    fit: HeadFit = field(default_factory=HeadFit)
    name = "replay alone"

    def learn(self, state: State | None, task: IncrementTask) -> IncrementLearnt:
        """See `IncrementMethod`."""
        params = state["head"] if state else fresh(self.fit, task)
        given = task.views_NxVxF, task.label_N, task.rows, jnp.asarray(task.seen_C)
        head = self.fit(cross_entropy, params, *given, task.seed)
        flops = spent(self.fit, task, len(task.rows))
        return IncrementLearnt({"head": head}, flops, task.picture_bytes * len(task.memory), len(task.rows))

    def scores(self, state: State, features_MxF: np.ndarray, seen_C: np.ndarray) -> np.ndarray:
        """See `IncrementMethod`."""
        return seen_scores(state["head"], features_MxF, seen_C)


@gin.configurable
@dataclass(frozen=True)
class GDumb:
    """From fresh weights on the memory alone, as many of each class (Prabhu et al., ECCV 2020): a method that
    does not beat it has learnt nothing from the stream.

    Args:
      fit: how heads learn.
    """

    fit: HeadFit = field(default_factory=HeadFit)
    name = "memory alone (GDumb)"

    def learn(self, state: State | None, task: IncrementTask) -> IncrementLearnt:
        """See `IncrementMethod`."""
        del state
        return from_fresh(self.fit, task, task.kept, len(task.rows))

    def scores(self, state: State, features_MxF: np.ndarray, seen_C: np.ndarray) -> np.ndarray:
        """See `IncrementMethod`."""
        return seen_scores(state["head"], features_MxF, seen_C)


@gin.configurable
@dataclass(frozen=True)
class Joint:
    """From fresh weights on all pictures of all classes so far: the ceiling, and what retraining costs.

    Args:
      fit: how heads learn.
    """

    fit: HeadFit = field(default_factory=HeadFit)
    name = "joint"

    def learn(self, state: State | None, task: IncrementTask) -> IncrementLearnt:
        """See `IncrementMethod`; it looks at pictures that no memory holds."""
        del state
        rows = np.flatnonzero(task.seen_C[np.maximum(task.label_N, 0)] & (task.label_N >= 0))
        return from_fresh(self.fit, task, rows, len(rows))

    def scores(self, state: State, features_MxF: np.ndarray, seen_C: np.ndarray) -> np.ndarray:
        """See `IncrementMethod`."""
        return seen_scores(state["head"], features_MxF, seen_C)
