"""Experts in the fewest words: every expert on every token, and a mask. What a routed form must equal."""

import jax
import jax.numpy as jnp

from pangu_jax.models.experts import ExpertsConfig, RouterState


def plain_experts(params, x_BxTxD, state: RouterState, config: ExpertsConfig):
    """[B, T, D], of one layer with silu."""
    gated_BxTxExF = jax.nn.silu(jnp.einsum("btd,edf->btef", x_BxTxD, params["gate"]))
    hidden_BxTxExF = gated_BxTxExF * jnp.einsum("btd,edf->btef", x_BxTxD, params["up"])
    each_BxTxExD = jnp.einsum("btef,edf->bted", hidden_BxTxExF, params["down"])
    y_BxTxD = jnp.einsum("bte,bted->btd", weights(params, x_BxTxD, state, config), each_BxTxExD)
    if shared := params.get("shared"):
        hidden_BxTxF = jax.nn.silu(x_BxTxD @ shared["gate"]) * (x_BxTxD @ shared["up"])
        y_BxTxD += hidden_BxTxF @ shared["down"].T
    return y_BxTxD


def weights(params, x_BxTxD, state, config):
    """[B, T, E], 0 where a token does not go."""
    logits = x_BxTxD @ params["router"]
    if config.router == "grouped":
        probability = jax.nn.softmax(logits)
        grouped = probability.reshape(*logits.shape[:-1], config.groups, -1)
        chosen = (grouped == grouped.max(-1, keepdims=True)).reshape(logits.shape)
        return probability * chosen * params["router_scale"]
    score = jax.nn.sigmoid(logits)
    biased = score + state.bias_E
    chosen = biased >= jnp.sort(biased)[..., -config.active, None]
    return config.factor * score * chosen / (jnp.sum(score * chosen, -1, keepdims=True) + 1e-20)
