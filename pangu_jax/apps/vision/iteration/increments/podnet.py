"""In the style of PODNet (Douillard et al., arXiv 2004.13513): pooled outputs are distilled, and a cosine
classifier has several proxies of each class.

The paper pools the maps of every stage of a net that learns. Here the trunk is frozen, and what learns has
one stage: the hidden layer, whose outputs of unit length are distilled.
"""

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
from pangu_jax.apps.vision.iteration.label_losses import own_log_probability
from pangu_jax.workloads.vision.model.blocks import unit_length


def cosine_logits(params: Params, h_BxH: jax.Array) -> jax.Array:
    """[B, C]: each class's cosines with its proxies, weighted by their own softmax, times a learnt scale."""
    proxies_CxKxH = unit_length(params["proxies"])
    cosine_BxCxK = jnp.einsum("bh,ckh->bck", unit_length(h_BxH), proxies_CxKxH)
    return params["scale"] * jnp.sum(jax.nn.softmax(cosine_BxCxK, axis=2) * cosine_BxCxK, axis=2)


def pooled_distillation(params: Params, x_BxF: jax.Array, label_B: jax.Array, given: dict) -> jax.Array:
    """CE of the cosine classifier + weight |h - h_old|^2 of unit hidden outputs."""
    h_BxH = heads.embedding(params, x_BxF)
    logits_BxC = jnp.where(given["seen"], cosine_logits(params, h_BxH), UNSEEN)
    apart_B = jnp.sum((unit_length(h_BxH) - unit_length(heads.embedding(given["old"], x_BxF))) ** 2, axis=1)
    return jnp.mean(given["weight"] * apart_B - own_log_probability(logits_BxC, label_B))


@gin.configurable
@dataclass(frozen=True)
class PooledDistillation:
    """New pictures and the memory; then the memory alone, as many of each class, for a balanced classifier.

    Args:
      fit: how heads learn.
      proxies: of each class.
      weight: of distillation, times sqrt(old classes / new classes), as in the paper.
      balance: epochs of balanced fine-tuning; 0 for none.
    """

    fit: HeadFit = field(default_factory=HeadFit)
    proxies: int = 3
    weight: float = 3.0
    balance: int = 5
    name = "pooled distillation (PODNet)"

    def learn(self, state: State | None, task: IncrementTask) -> IncrementLearnt:
        """See `IncrementMethod`."""
        params = state["head"] if state else self._fresh(task)
        params = self._with_proxies(params, task)
        new, old = int((task.seen_C & ~task.was_C).sum()), int(task.was_C.sum())
        given = {
            "old": {"hidden": params["hidden"]},
            "seen": jnp.asarray(task.seen_C),
            "weight": jnp.float32(self.weight * (old / new) ** 0.5),
        }
        arrays = task.views_NxVxF, task.label_N
        head = self.fit(pooled_distillation, params, *arrays, task.rows, given, task.seed)
        flops = spent(self.fit, task, len(task.rows), passes=4)
        if state and self.balance:
            fit = HeadFit(
                self.fit.hidden,
                self.balance,
                self.fit.batch_size,
                self.fit.learning_rate / 4,
                self.fit.weight_decay,
            )
            given["old"] = {"hidden": head["hidden"]}
            head = fit(pooled_distillation, head, *arrays, task.kept, given, task.seed + 1)
            flops += spent(fit, task, len(task.kept), passes=4)
        return IncrementLearnt({"head": head}, flops, task.picture_bytes * len(task.memory), len(task.rows))

    def scores(self, state: State, features_MxF: np.ndarray, seen_C: np.ndarray) -> np.ndarray:
        """See `IncrementMethod`."""
        x = features_MxF.astype(np.float32)
        found = np.asarray(jax.jit(lambda p, x: cosine_logits(p, heads.embedding(p, x)))(state["head"], x))
        return np.where(seen_C, found, UNSEEN)

    def _fresh(self, task: IncrementTask) -> Params:
        params = fresh(self.fit, task)
        shape = (len(task.seen_C), self.proxies, self.fit.hidden)
        return {
            "hidden": params["hidden"],
            "proxies": jax.random.normal(jax.random.key(task.seed + 7), shape),
            "scale": jnp.float32(10.0),
        }

    def _with_proxies(self, params: Params, task: IncrementTask) -> Params:
        """New classes begin at outputs of pictures of theirs, which are told apart at once."""
        proxies = np.array(params["proxies"])
        labels = task.label_N[task.new]
        rng = np.random.default_rng([task.seed, 31])
        for c in np.unique(labels):
            own = rng.choice(task.new[labels == c], self.proxies)
            x = task.views_NxVxF[own, 0].astype(np.float32)
            proxies[c] = np.asarray(heads.embedding(params, jnp.asarray(x)))
        return params | {"proxies": jnp.asarray(proxies)}
