"""The decoder's weights as steps of a few tokens are fastest with: output first, a dict per layer.

Where the backend has kernels for few rows (`OneDevice.native`), weights are packed for them.
"""

from typing import Any

import jax
import jax.numpy as jnp

from pangu_jax.models import attention, experts, latent_cache, native
from pangu_jax.models.parameters import Tree
from pangu_jax.workloads.language.model import learned_positions, routed
from pangu_jax.workloads.language.model.decoder import JOIN, QUERY_LAYER
from pangu_jax.workloads.language.model.forward import Forward
from pangu_jax.workloads.language.model.incremental_experts import experts_axes

# Logical axes of the weights of a layer, in the form of `prepare`, and of those outside of the layers.
LAYER_AXES = {
    "qkv": (None, "heads", "kv", "embed"),
    "own_query": ("heads", "kv", "embed"),
    "own_key_value": (None, "kv_heads", "kv", "embed"),
    "out": ("embed", "heads", "kv"),
    "query": ("heads", "kv", "embed"),
    "key_value": (None, "heads", "kv", "embed"),
    "cross_out": ("embed", "heads", "kv"),
    "up": (None, "mlp", "embed"),
    "down": ("embed", "mlp"),
    "prefix": attention.PREFIX,
    **latent_cache.AXES,
}
TABLE = ("vocab", "embed")
# Weights that multiply few rows, and how many of their last dimensions are summed over.
PACKED = {
    "qkv": 1,
    "own_query": 1,
    "own_key_value": 1,
    "query_down": 1,
    "latent_down": 1,
    "out": 2,
    "query": 1,
    "cross_out": 2,
    "up": 1,
    "down": 1,
}


def has_kernels(forward: Forward) -> bool:
    """Whether products and attention of a few rows are the backend's kernels."""
    fits = forward.dtype == jnp.float32 and forward.config.width % native.LANES == 0
    return fits and native.takes(forward.placement)


def prepare(forward: Forward, params: Tree) -> Tree:
    """The decoder's weights for `extend`: a dict per layer, outputs first, in the dtype of products.

    Queries carry the factor on the scores; q, k and v are one weight, as are gate and up.
    """
    config, placement = forward.config, forward.placement

    def layer(tower: Tree, index: int) -> Tree:
        own, cross, feed, routed_to = (
            jax.tree.map(lambda weight: weight[index], tower.get(block, {}))
            for block in ("attention", "cross_attention", "feed_forward", routed.KEY)
        )
        weights = {"out": own["out"]}
        if feed:
            weights["up"] = jnp.stack([feed[name].T for name in ("gate", "up") if name in feed])
            weights["down"] = feed["down"]
        norms = {
            name: jax.tree.map(lambda weight: weight[index], tower[name])
            for name in tower
            if name.endswith("_norm")
        }
        if config.latent:
            latent, of_latents = latent_cache.prepare(own, config.latent)
            weights, norms = weights | latent, norms | of_latents
        elif "qkv" in own:
            weights["qkv"] = jnp.transpose(own["qkv"], (2, 1, 3, 0)).at[0].multiply(config.scale)
        else:
            weights["own_query"] = jnp.moveaxis(own["query"] * config.scale, 0, -1)
            weights["own_key_value"] = jnp.moveaxis(own["key_value"], (2, 0), (0, 3))
        if cross:
            weights["query"] = jnp.moveaxis(cross["query"] * config.scale, 0, -1)
            weights["key_value"] = jnp.moveaxis(cross["key_value"], (2, 0), (0, 3))
            weights["cross_out"] = cross["out"]
        if "prefix" in own:
            weights["prefix"] = own["prefix"]
        weights = {name: weight.astype(forward.dtype) for name, weight in weights.items()}
        weights: dict[str, Any] = dict(
            placement.stored(weights, {name: LAYER_AXES[name] for name in weights})
        )
        if has_kernels(forward):
            for name in PACKED:
                if name in weights:
                    weights[name] = native.pack(weights[name], PACKED[name], forward.weights)
        if routed_to:
            routed_to = experts.turn(routed.in_dtype(routed_to, forward.dtype))
            weights[routed.KEY] = placement.stored(routed_to, experts_axes(config))
        return {**weights, **norms, **_biases(forward, own, feed)}

    def predicting(own: Tree) -> Tree:
        join = placement.stored({"join": own["join"].astype(forward.dtype)}, {"join": JOIN})
        norms = {name: own[name] for name in ("token_norm", "hidden_norm")}
        return {**join, **norms, "layer": layer(own["block"], 0), "norm": own["norm"]["scale"]}

    # The decoder reads and writes words; the rows below them are a soft prompt's, which the encoder reads.
    tables = {"embedding": params["embedding"], "head": params["embedding" if config.tied_head else "head"]}
    tables = {name: table[: config.vocab_size].astype(forward.dtype) for name, table in tables.items()}
    tables: dict[str, Any] = dict(placement.stored(tables, dict.fromkeys(tables, TABLE)))
    if has_kernels(forward):
        tables["head"] = native.pack(tables["head"], 1, forward.weights)
    return {
        "layers": (
            *(layer(params["dense"], index) for index in range(config.dense_layers)),
            *(layer(params["decoder"], i) for i in range(len(params["decoder"]["attention_norm"]["scale"]))),
            *([layer(params[QUERY_LAYER], 0)] if QUERY_LAYER in params else []),
        ),
        **tables,
        "norm": params["decoder_norm"],
        **({"bias": params["decoder_bias"]["table"]} if "decoder_bias" in params else {}),
        **({"prediction": predicting(params["prediction"])} if "prediction" in params else {}),
        **{
            name: placement.stored(
                {"position": params[name]["position"].astype(forward.dtype)}, learned_positions.AXES
            )
            for name in ("positions", "queries")
            if name in params
        },
    }


def _biases(forward: Forward, own: Tree, feed: Tree) -> Tree:
    """Those of a layer's projections, parts first as in their weights; queries have the scores' factor."""
    found = {}
    if "out_bias" in own:
        found["query_bias"] = own["query_bias"] * forward.config.scale
        found["key_value_bias"] = jnp.moveaxis(own["key_value_bias"], 1, 0)
        found["out_bias"] = own["out_bias"]
    if "out_bias" in feed:
        names = [name for name in ("gate_bias", "up_bias") if name in feed]
        found["up_bias"] = jnp.stack([feed[name] for name in names])
        found["down_bias"] = feed["out_bias"]
    return {name: bias.astype(forward.dtype) for name, bias in found.items()}


def gathered(forward: Forward, weights: Tree, name: str) -> jax.Array:
    """A weight as it is multiplied."""
    axes = LAYER_AXES.get(name, TABLE)
    return forward.placement.weights({name: weights[name]}, {name: axes})[name]


def times_weight(forward: Forward, weights: Tree, name: str, x: jax.Array, dtype: Any = None) -> jax.Array:
    """A weight [*outputs, *inputs] times x [*inputs, R]: [*outputs, R]."""
    if isinstance(weights[name], native.Packed):
        return native.product(weights[name], x)
    return jnp.tensordot(gathered(forward, weights, name), x, x.ndim - 1, preferred_element_type=dtype)
