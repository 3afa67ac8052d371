"""Heads on frozen features: one hidden layer, or none, and a row of logits."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

Params = dict[str, Any]
CHUNK = 2048  # rows at once where answers are asked for


class HeadShape(NamedTuple):
    """Of a head.

    Attributes:
      features: width of its input.
      hidden: width of its hidden layer; 0 for a linear head.
      classes: width of its output.
    """

    features: int
    hidden: int
    classes: int

    @property
    def flops(self) -> float:
        """Of products, forward, per row."""
        if not self.hidden:
            return 2.0 * self.features * self.classes
        return 2.0 * self.hidden * (self.features + self.classes)


def init(shape: HeadShape, key: jax.Array) -> Params:
    """Fresh fp32 parameters: He's for the hidden layer, zeros for the last one: all classes are equal."""
    params: Params = {}
    width = shape.features
    if shape.hidden:
        scale = (2.0 / shape.features) ** 0.5
        params["hidden"] = {
            "kernel": scale * jax.random.normal(key, (shape.features, shape.hidden)),
            "bias": jnp.zeros(shape.hidden),
        }
        width = shape.hidden
    params["out"] = {"kernel": jnp.zeros((width, shape.classes)), "bias": jnp.zeros(shape.classes)}
    return params


def embedding(params: Params, x_BxF: jax.Array) -> jax.Array:
    """What the last layer sees, [B, H]; the features themselves of a linear head."""
    if "hidden" not in params:
        return x_BxF
    return jax.nn.relu(x_BxF @ params["hidden"]["kernel"] + params["hidden"]["bias"])


def logits(params: Params, x_BxF: jax.Array, keep: jax.Array | None = None) -> jax.Array:
    """fp32 [B, C].

    Args:
      params: of `init`.
      x_BxF: features.
      keep: factors of the embedding, [B, H], 0 or 1 over the share that is kept: dropout. None for none.
    """
    h_BxH = embedding(params, x_BxF)
    h_BxH = h_BxH if keep is None else h_BxH * keep
    return h_BxH @ params["out"]["kernel"] + params["out"]["bias"]


@jax.jit
def _logits(params: Params, x_BxF: jax.Array) -> jax.Array:
    return logits(params, x_BxF.astype(jnp.float32))


def answers(params: Params, features_NxF: np.ndarray) -> np.ndarray:
    """Logits of many rows, fp32 [N, C], on the host."""
    parts = []
    for first in range(0, len(features_NxF), CHUNK):
        part = features_NxF[first : first + CHUNK]
        padded = np.zeros((CHUNK, part.shape[1]), part.dtype)  # one compiled program
        padded[: len(part)] = part
        parts.append(np.asarray(_logits(params, padded))[: len(part)])
    return np.concatenate(parts) if parts else np.zeros((0, params["out"]["bias"].shape[0]), np.float32)
