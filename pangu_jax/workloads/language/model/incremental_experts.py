"""Experts a few tokens at a time: their weights are turned, and no state is read."""

import jax
import jax.numpy as jnp

from pangu_jax.models.experts import TURNED, WEIGHTS, CountedTokens, RouterState, experts
from pangu_jax.models.parameters import Tree
from pangu_jax.workloads.language.model import architecture, routed
from pangu_jax.workloads.language.model.architecture import Architecture
from pangu_jax.workloads.language.model.forward import Forward


def experts_axes(config: Architecture) -> Tree:
    """Logical axes of a layer's experts, turned, and of its router and shared block as in training."""
    stacked = architecture.axes(config)["decoder"][routed.KEY]
    layer = jax.tree.map(lambda axes: axes[1:], stacked, is_leaf=lambda leaf: isinstance(leaf, tuple))
    return {**layer, **dict.fromkeys(WEIGHTS, TURNED)}


def visit(forward: Forward, params: Tree, normed_DxR: jax.Array, batch: int) -> jax.Array:
    """What experts make of rows, [D, R]; the router's correction bias is among the parameters here."""
    config, rows = forward.config, normed_DxR.shape[1]
    assert config.experts, "of a model with experts"
    params = dict(forward.placement.weights(params, experts_axes(config)))
    x_BxMxD = normed_DxR.T.reshape(batch, rows // batch, -1)
    nobody_BxM, none_E = jnp.zeros(x_BxMxD.shape[:2]), jnp.zeros(config.experts.experts)
    state, counted = RouterState(none_E, none_E), CountedTokens(nobody_BxM, nobody_BxM)
    how = state, counted, config.experts, config.activation, forward.placement, TURNED
    return experts(params, x_BxMxD, *how)[0].reshape(rows, -1).T
