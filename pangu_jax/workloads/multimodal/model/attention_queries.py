"""Some learnt queries over a picture's units: what a caption decoder reads of it (CoCa, arXiv 2205.01917).

One head, and no perceptron: the decoder that reads it has its own.
"""

import jax
import jax.numpy as jnp
from flax import nnx

from pangu_jax.models import attention
from pangu_jax.models.parameters import Tree, normal


class AttentionQueries(nnx.Module):
    """`queries` [N, F], `key_value` [F, 2, F]."""

    def __init__(self, count: int, width: int, rngs: nnx.Rngs):
        self.queries = normal(rngs, (count, width), (None, "norm"), fan_in=1)
        self.key_value = normal(rngs, (width, 2, width), ("embed", None, None), fan_in=width)


def queried(params: Tree, x_BxUxF: jax.Array) -> jax.Array:
    """[B, N, F] of units [B, U, F]; the parameters are whole and in their dtype."""
    k_BxUxF, v_BxUxF = jnp.moveaxis(jnp.tensordot(x_BxUxF, params["key_value"], 1), 2, 0)
    batch, width = x_BxUxF.shape[0], x_BxUxF.shape[-1]
    queries_NxF = params["queries"] * width**-0.5
    q_Bx1xNxF = jnp.broadcast_to(queries_NxF, (batch, 1, *queries_NxF.shape))
    mask = jnp.ones((1, 1, 1, x_BxUxF.shape[1]), bool)
    return attention.attend(q_Bx1xNxF, k_BxUxF[:, None], v_BxUxF[:, None], mask, None)[:, 0]
