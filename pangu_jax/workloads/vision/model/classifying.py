"""From tokens of a plain vision transformer to one vector per picture, and to logits."""

import jax
import jax.numpy as jnp

from pangu_jax.models.parameters import Tree
from pangu_jax.workloads.vision.model import blocks, pooling
from pangu_jax.workloads.vision.model.plain import PlainForward
from pangu_jax.workloads.vision.model.trunk import Stream


def logits(forward: PlainForward, params: Tree, stream: Stream) -> jax.Array:
    """Of pictures, see `classified`.

    Args:
      forward: the pass.
      params: {"trunk": ..., "main": ...}.
      stream: what is seen.
    """
    _, x_BxTxD = forward.begin(params["trunk"], stream)
    x_BxTxD = forward.run(params["main"], x_BxTxD)
    return classified(forward, params["trunk"], pooled(forward, params["trunk"], x_BxTxD))


def pooled(forward: PlainForward, params: Tree, x_BxTxD: jax.Array) -> jax.Array:
    """What stands for each picture, [B, D].

    Args:
      forward: the pass.
      params: those of "trunk".
      x_BxTxD: what left the last layer, the class token first.
    """
    config = forward.config
    x_BxTxD = forward.normed("tokens", params, forward.placement.enter(x_BxTxD))
    patches_BxUxD = x_BxTxD[:, int(config.class_token) :]
    if config.pooling == "token":
        pooled_BxD = x_BxTxD[:, 0]
    elif config.pooling == "mean":
        pooled_BxD = jnp.mean(patches_BxUxD, axis=1)
    else:
        pooled_BxD = attended(forward, params, patches_BxUxD, jnp.ones((1, patches_BxUxD.shape[1]), bool))
    return forward.normed("pooled", params, pooled_BxD)


def attended(forward: PlainForward, params: Tree, x_BxUxD: jax.Array, seen_BxU: jax.Array) -> jax.Array:
    """See `pooling.attended`; `params` are those of "trunk"."""
    own = forward.gathered(params, ("pool",))["pool"]
    config = forward.config
    return pooling.attended(own, x_BxUxD, seen_BxU, blocks.gelu_of(config.tanh, config.quick), config.epsilon)


def classified(forward: PlainForward, params: Tree, pooled_BxD: jax.Array) -> jax.Array:
    """Logits, fp32 [B, classes]; without a head what is before it.

    Args:
      forward: the pass.
      params: those of "trunk".
      pooled_BxD: of `pooled`.
    """
    if forward.config.representation:
        own = forward.gathered(params, ("represent", "represent_bias"))
        pooled_BxD = jnp.tanh(pooled_BxD @ own["represent"] + own["represent_bias"])
    if forward.config.classes:
        own = forward.gathered(params, ("head", "head_bias"))
        pooled_BxD = pooled_BxD @ own["head"] + own["head_bias"]
    return pooled_BxD.astype(jnp.float32)
