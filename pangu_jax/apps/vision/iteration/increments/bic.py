"""BiC: distillation, then two parameters against the bias to new classes (Wu et al., arXiv 1905.13260)."""

from dataclasses import dataclass, field

import gin
import jax
import jax.numpy as jnp
import numpy as np
from scipy import optimize, special

from pangu_jax.apps.vision.iteration import heads
from pangu_jax.apps.vision.iteration.heads import Params
from pangu_jax.apps.vision.iteration.increments.head_fit import UNSEEN, HeadFit
from pangu_jax.apps.vision.iteration.increments.method import IncrementLearnt, State
from pangu_jax.apps.vision.iteration.increments.replay import fresh, spent
from pangu_jax.apps.vision.iteration.increments.task import IncrementTask
from pangu_jax.apps.vision.iteration.label_losses import own_log_probability

TEMPERATURE = 2.0  # of distillation, the paper's


def softmax_distillation(params: Params, x_BxF: jax.Array, label_B: jax.Array, given: dict) -> jax.Array:
    """(1 - w) CE over all classes + w CE to the corrected head before over old ones, w their share."""
    logits_BxC = heads.logits(params, x_BxF)
    own_B = -own_log_probability(jnp.where(given["seen"], logits_BxC, UNSEEN), label_B)
    old_BxC = heads.logits(given["old"], x_BxF) * given["scale"] + given["shift"]
    target_BxC, logs_BxC = (
        of(jnp.where(given["was"], x / TEMPERATURE, UNSEEN))
        for of, x in ((jax.nn.softmax, old_BxC), (jax.nn.log_softmax, logits_BxC))
    )
    apart_B = -jnp.sum(jnp.where(given["was"], target_BxC * logs_BxC, 0.0), axis=1)
    return jnp.mean((1 - given["weight"]) * own_B + given["weight"] * apart_B)


@gin.configurable
@dataclass(frozen=True)
class BiC:
    """New pictures and the memory by cross-entropy and distillation, a slice of both held out; of it alpha
    and beta, by which the logits of the newest classes become alpha logit + beta.

    Args:
      fit: how heads learn.
      held_out: share of the memory, and as many pictures of each new class.
    """

    fit: HeadFit = field(default_factory=HeadFit)
    held_out: float = 0.1
    name = "BiC"

    def learn(self, state: State | None, task: IncrementTask) -> IncrementLearnt:
        """See `IncrementMethod`."""
        classes = len(task.seen_C)
        old = state or {"head": fresh(self.fit, task), "scale": np.ones(classes), "shift": np.zeros(classes)}
        slice_, learnt = self._slice(task)
        given = {
            "old": old["head"],
            "scale": jnp.asarray(old["scale"], jnp.float32),
            "shift": jnp.asarray(old["shift"], jnp.float32),
            "was": jnp.asarray(task.was_C),
            "seen": jnp.asarray(task.seen_C),
            "weight": jnp.float32(task.was_C.sum() / task.seen_C.sum()),
        }
        head = self.fit(
            softmax_distillation, old["head"], task.views_NxVxF, task.label_N, learnt, given, task.seed
        )
        found = {"head": head, "scale": old["scale"].copy(), "shift": old["shift"].copy()}
        if len(slice_):
            new_C = task.seen_C & ~task.was_C
            logits = self.scores(found, task.views_NxVxF[slice_, 0], task.seen_C)
            alpha, beta = bias_of(logits, task.label_N[slice_], new_C)
            found["scale"][new_C], found["shift"][new_C] = alpha, beta
        flops = spent(self.fit, task, len(learnt), passes=4 if state else 3)
        return IncrementLearnt(found, flops, task.picture_bytes * len(task.memory), len(task.rows))

    def scores(self, state: State, features_MxF: np.ndarray, seen_C: np.ndarray) -> np.ndarray:
        """See `IncrementMethod`."""
        logits = heads.answers(state["head"], features_MxF)
        return np.where(seen_C, logits * state["scale"] + state["shift"], UNSEEN)

    def _slice(self, task: IncrementTask) -> tuple[np.ndarray, np.ndarray]:
        """Rows held out, as many of each class, and the others; none in the first increment."""
        if not len(task.memory):
            return np.zeros(0, np.int64), task.rows
        labels = task.label_N[task.memory]
        each = max(1, round(self.held_out * len(task.memory) / int(task.was_C.sum())))
        held = [task.memory[labels == c][-each:] for c in np.unique(labels)]
        new = task.label_N[task.new]
        held += [task.new[new == c][-each:] for c in np.unique(new)]
        slice_ = np.concatenate(held)
        return slice_, np.setdiff1d(task.rows, slice_)


def bias_of(logits_NxC: np.ndarray, label_N: np.ndarray, new_C: np.ndarray) -> tuple[float, float]:
    """alpha and beta that make the labels likeliest."""

    def loss(at: np.ndarray) -> float:
        moved = np.where(new_C, logits_NxC * at[0] + at[1], logits_NxC)
        own = np.take_along_axis(moved, label_N[:, None], 1)[:, 0]
        return float(np.mean(special.logsumexp(moved, axis=1) - own))

    alpha, beta = optimize.minimize(loss, np.array([1.0, 0.0]), method="Nelder-Mead").x
    return float(alpha), float(beta)
