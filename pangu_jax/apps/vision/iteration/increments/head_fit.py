"""How heads learn in increments: one loop for all methods, each with its own loss."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gin
import jax
import jax.numpy as jnp
import numpy as np
import optax

from pangu_jax.apps.vision.iteration.heads import Params
from pangu_jax.errors import UserError

CHUNK = 20  # steps of one compiled program
UNSEEN = -1e9  # logit of a class that has not arrived
# (parameters, features [B, F], labels [B], whatever the method hands over) -> mean loss
Loss = Callable[[Params, jax.Array, jax.Array, Any], jax.Array]


@gin.configurable
@dataclass(frozen=True)
class HeadFit:
    """The same for every method.

    Args:
      hidden: width of the hidden layer.
      epochs: over the pictures that an increment learns from.
      batch_size: of a step.
      learning_rate: of AdamW, the peak; a cosine down from it, in each increment.
      weight_decay: decoupled.
    """

    hidden: int = 256
    epochs: int = 10
    batch_size: int = 128
    learning_rate: float = 2e-3
    weight_decay: float = 0.01

    def __post_init__(self):
        if min(self.hidden, self.epochs, self.batch_size) < 1 or self.learning_rate <= 0:
            raise UserError("HeadFit: hidden, epochs, batch_size and learning_rate must be above 0")

    def steps(self, pictures: int) -> int:
        """Of so many pictures, a multiple of `CHUNK`."""
        return CHUNK * max(1, round(self.epochs * pictures / self.batch_size / CHUNK))

    def __call__(
        self,
        loss: Loss,
        params: Params,
        views_NxVxF: jax.Array | np.ndarray,
        label_N: np.ndarray,
        rows: np.ndarray,
        given: Any,
        seed: int,
    ) -> Params:
        """Parameters after learning from some rows, each time in a view that is drawn.

        Args:
          loss: a function of the module, for it is compiled once.
          params: where it starts.
          views_NxVxF: features.
          label_N: int.
          rows: that are learnt from.
          given: arrays for the loss.
          seed: of order and views.
        """
        steps = self.steps(len(rows))
        rng = np.random.default_rng([seed, 23])
        order = np.concatenate(
            [rng.permutation(rows) for _ in range(-(-steps * self.batch_size // len(rows)))]
        )
        order = order[: steps * self.batch_size].reshape(steps, self.batch_size)
        view = rng.integers(views_NxVxF.shape[1], size=order.shape, dtype=np.int32)
        optimizer = optax.adamw(self.learning_rate, weight_decay=self.weight_decay).init(params)
        rate = 0.5 * (1 + np.cos(np.pi * np.arange(steps, dtype=np.float32) / steps))
        arrays = jnp.asarray(views_NxVxF), jnp.asarray(label_N, jnp.int32)
        for first in range(0, steps, CHUNK):
            part = slice(first, first + CHUNK)
            drawn = order[part].astype(np.int32), view[part], rate[part]
            params, optimizer = _learn(self, loss, params, optimizer, arrays, given, drawn)
        return jax.tree.map(np.asarray, params)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _learn(fit: HeadFit, loss: Loss, params: Params, state: Any, arrays: Any, given: Any, drawn: Any) -> Any:
    views_NxVxF, label_N = arrays
    optimizer = optax.adamw(fit.learning_rate, weight_decay=fit.weight_decay)

    def step(carry: Any, drawn: Any) -> Any:
        params, state = carry
        rows_B, view_B, rate = drawn
        x_BxF = views_NxVxF[rows_B, view_B].astype(jnp.float32)
        grads = jax.grad(loss)(params, x_BxF, label_N[rows_B], given)
        updates, state = optimizer.update(grads, state, params)
        return (optax.apply_updates(params, jax.tree.map(lambda u: rate * u, updates)), state), None

    return jax.lax.scan(step, (params, state), drawn)[0]
