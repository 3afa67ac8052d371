"""iCaRL: sigmoid distillation, and the nearest mean of herded pictures (Rebuffi et al., arXiv 1611.07725)."""

from dataclasses import dataclass, field

import gin
import jax
import jax.numpy as jnp
import numpy as np

from pangu_jax.apps.vision.iteration import heads
from pangu_jax.apps.vision.iteration.heads import Params
from pangu_jax.apps.vision.iteration.increments.head_fit import UNSEEN, HeadFit
from pangu_jax.apps.vision.iteration.increments.method import IncrementLearnt, State
from pangu_jax.apps.vision.iteration.increments.replay import fresh, spent
from pangu_jax.apps.vision.iteration.increments.task import IncrementTask
from pangu_jax.workloads.vision import probing


def sigmoid_distillation(params: Params, x_BxF: jax.Array, label_B: jax.Array, given: dict) -> jax.Array:
    """Binary cross-entropy of every class that has arrived: to the label for new classes, to what the head
    before said for old ones."""
    logits_BxC = heads.logits(params, x_BxF)
    hot_BxC = jax.nn.one_hot(label_B, logits_BxC.shape[1])
    before_BxC = jax.nn.sigmoid(heads.logits(given["old"], x_BxF))
    target_BxC = jnp.where(given["was"], before_BxC, hot_BxC)
    each_BxC = jax.nn.softplus(logits_BxC) - target_BxC * logits_BxC
    return jnp.mean(jnp.sum(jnp.where(given["seen"], each_BxC, 0.0), axis=1))


@gin.configurable
@dataclass(frozen=True)
class ICaRL:
    """New pictures and the memory by sigmoid distillation; classes by the nearest mean of the pictures that
    the memory keeps, of unit embeddings.

    Args:
      fit: how heads learn.
    """

    fit: HeadFit = field(default_factory=HeadFit)
    name = "iCaRL"

    def learn(self, state: State | None, task: IncrementTask) -> IncrementLearnt:
        """See `IncrementMethod`."""
        params = state["head"] if state else fresh(self.fit, task)
        given = {"old": params, "was": jnp.asarray(task.was_C), "seen": jnp.asarray(task.seen_C)}
        head = self.fit(
            sigmoid_distillation, params, task.views_NxVxF, task.label_N, task.rows, given, task.seed
        )
        kept = task.kept
        embedded = unit_embedding(head, task.views_NxVxF[kept, 0])
        mean_CxH = np.zeros((len(task.seen_C), embedded.shape[1]), np.float32)
        for c in np.unique(task.label_N[kept]):
            mean_CxH[c] = embedded[task.label_N[kept] == c].mean(0)
        flops = spent(self.fit, task, len(task.rows), passes=4 if state else 3)
        found = {"head": head, "mean": mean_CxH}
        return IncrementLearnt(
            found, flops, task.picture_bytes * len(task.memory) + mean_CxH.nbytes, len(task.rows)
        )

    def scores(self, state: State, features_MxF: np.ndarray, seen_C: np.ndarray) -> np.ndarray:
        """See `IncrementMethod`."""
        embedded_MxH = unit_embedding(state["head"], features_MxF)
        return np.where(seen_C, embedded_MxH @ probing.unit(state["mean"]).T, UNSEEN)


def unit_embedding(params: Params, features_NxF: np.ndarray) -> np.ndarray:
    """What the last layer sees, of length 1, fp32 [N, H]."""
    return probing.unit(np.asarray(jax.jit(heads.embedding)(params, features_NxF.astype(np.float32))))
