"""All weights learn from a few labels: from a trunk that has learnt, or from scratch, by the same recipe.

With HiViT's own tail (arXiv 2205.14949): the mean of the main stage's tokens, normalised, and a linear layer,
which begins at nothing.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from data_pipelines.images.augment import Flip, RandomCrop, apply

STEPS, BATCH, WARMUP, WEIGHT_DECAY = 400, 32, 40, 0.05
VIEWS = (RandomCrop(32, 4), Flip())
ASKED = 250  # pictures at once
RATE = 1e-3  # the peak of AdamW's learning rate


Tuner = Callable[[Any, np.ndarray, np.ndarray, np.ndarray, int], np.ndarray]


def tuner(workload: Any, run: Any, classes: int, rate: float = RATE) -> Tuner:
    """A function (params, pixels, labels, pixels asked about, seed) -> scores [M, C].

    Args:
      workload: a `VisionModel`.
      run: how a forward pass is carried out.
      classes: how many there are.
      rate: the peak of AdamW's learning rate.
    """
    schedule = optax.warmup_cosine_decay_schedule(0.0, rate, WARMUP, STEPS)
    optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(schedule, weight_decay=WEIGHT_DECAY))

    def scores(params: Any, pixels_BxSxSxC: jax.Array) -> jax.Array:
        pooled_BxD = jnp.mean(workload.features(params["trunk"], pixels_BxSxSxC, run)[-1], axis=1)
        return jax.nn.standardize(pooled_BxD, axis=-1) @ params["head"] + params["bias"]

    @jax.jit
    def step(params: Any, state: Any, pixels: jax.Array, label: jax.Array) -> tuple[Any, Any]:
        def loss(params: Any) -> jax.Array:
            return optax.softmax_cross_entropy_with_integer_labels(scores(params, pixels), label).mean()

        updates, state = optimizer.update(jax.grad(loss)(params), state, params)
        return optax.apply_updates(params, updates), state

    ask, width = jax.jit(scores), workload.model.feature_widths[-1]

    def tune(
        start: Any, pixels_NxSxSxC: np.ndarray, label_N: np.ndarray, asked_MxSxSxC: np.ndarray, seed: int
    ) -> np.ndarray:
        trunk = {name: start[name] for name in ("trunk", "main")}
        params: Any = {"trunk": trunk, "head": jnp.zeros((width, classes)), "bias": jnp.zeros(classes)}
        state, rng = optimizer.init(params), np.random.default_rng(seed)
        rounds = -(-STEPS * BATCH // len(label_N))
        order = np.concatenate([rng.permutation(len(label_N)) for _ in range(rounds)])
        for places in order[: STEPS * BATCH].reshape(STEPS, BATCH):
            views = np.stack([apply(VIEWS, pixels_NxSxSxC[place], rng) for place in places])
            params, state = step(params, state, views, label_N[places])
        parts = (asked_MxSxSxC[i : i + ASKED] for i in range(0, len(asked_MxSxSxC), ASKED))
        return np.concatenate([ask(params, part) for part in parts])

    return tune
