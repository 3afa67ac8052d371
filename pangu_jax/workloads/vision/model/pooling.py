"""From the tokens of a picture to one vector: the class token, the mean, or attention by a learnt query."""

from collections.abc import Callable
from typing import Literal, get_args

import jax
import jax.numpy as jnp
from flax import nnx

from pangu_jax.models import attention
from pangu_jax.models.normalization import LayerNorm, layer_norm
from pangu_jax.models.parameters import Tree, normal, zeros
from pangu_jax.models.projection import project, project_back

Pooling = Literal["token", "mean", "attention"]
KINDS = get_args(Pooling)


class AttentionPool(nnx.Module):
    """A query for all pictures, keys and values of their tokens, and a perceptron (arXiv 2106.04560).

    One query of a picture is little work: its heads are not split over devices.
    """

    def __init__(self, width: int, heads: int, hidden: int, rngs: nnx.Rngs):
        kv = width // heads
        self.probe = normal(rngs, (width,), ("norm",), fan_in=width)
        self.query = normal(rngs, (width, heads, kv), ("embed", "pool", "kv"), fan_in=width)
        self.query_bias = zeros((heads, kv), ("pool", "kv"))
        self.key_value = normal(rngs, (width, heads, 2, kv), ("embed", "pool", None, "kv"), fan_in=width)
        self.key_value_bias = zeros((heads, 2, kv), ("pool", None, "kv"))
        self.out = normal(rngs, (width, heads, kv), ("embed", "pool", "kv"), fan_in=width)
        self.out_bias = zeros((width,), ("norm",))
        self.norm = LayerNorm(width)
        self.up = normal(rngs, (width, hidden), ("embed", None), fan_in=width)
        self.up_bias = zeros((hidden,), ("norm",))
        self.down = normal(rngs, (width, hidden), ("embed", None), fan_in=hidden)
        self.down_bias = zeros((width,), ("norm",))


def attended(
    params: Tree,
    x_BxTxD: jax.Array,
    seen_BxT: jax.Array,
    activation: Callable[[jax.Array], jax.Array],
    epsilon: float,
) -> jax.Array:
    """What the query sees of each picture, [B, D].

    Args:
      params: of an `AttentionPool`, whole, in the dtype of products.
      x_BxTxD: tokens of pictures.
      seen_BxT: bool, which of them it may see; one at least of each picture.
      activation: of the perceptron.
      epsilon: of the norm.
    """
    query_HxK = project(params["probe"], params["query"]) + params["query_bias"]
    key_value = project(x_BxTxD, params["key_value"]) + params["key_value_bias"]
    k, v = (part[:, :, :, 0].transpose(0, 2, 1, 3) for part in jnp.split(key_value, 2, axis=3))
    q = jnp.broadcast_to(query_HxK[:, None] * query_HxK.shape[-1] ** -0.5, (*k.shape[:2], 1, k.shape[-1]))
    heads_BxHxK = attention.attend(q, k, v, seen_BxT[:, None, None], None)[:, :, 0]
    y_BxD = project_back(heads_BxHxK, params["out"]) + params["out_bias"]
    hidden = project(layer_norm(y_BxD, params["norm"], epsilon), params["up"]) + params["up_bias"]
    return y_BxD + project_back(activation(hidden), params["down"]) + params["down_bias"]
