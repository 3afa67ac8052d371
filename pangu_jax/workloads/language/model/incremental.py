"""The decoder a few tokens at a time: what earlier tokens left in a cache is not computed again.

Activations are feature-major here, [features, rows], and every weight is stored output first. A product is
then weight [N, D] times rows [D, R], which a CPU computes for 8 to 32 rows at the speed at which it reads the
weight, twice as fast as rows times weight; `prepare` brings the weights into that form once.

One function, `extend`, is a step of greedy search (one token an example), of beam search (a token a beam, the
beams of an example sharing its memory), the reading of a given prefix and the scoring of candidates: new
tokens of an example look at the columns of its cache that the caller shows them, and at its encoder's output.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from pangu_jax.models import attention, positions
from pangu_jax.models.feed_forward import ACTIVATIONS
from pangu_jax.models.normalization import rms_norm
from pangu_jax.models.parameters import Tree
from pangu_jax.workloads.language.model.encoder_decoder import EncoderDecoderConfig

KeyValue = tuple[jax.Array, jax.Array]  # keys [B, H, K, C] and values [B, H, C, K] of a layer
Cache = tuple[KeyValue, ...]


class Memory(NamedTuple):
    """What the decoder reads of the encoder's output, computed once.

    Attributes:
      layers: of each layer keys [B, H, K, S] and values [B, H, S, K].
      seen_BxS: bool, False for padding.
    """

    layers: tuple[KeyValue, ...]
    seen_BxS: jax.Array


def prepare(config: EncoderDecoderConfig, params: Tree, dtype: jnp.dtype) -> Tree:
    """The decoder's weights for `extend`: a dict a layer, each weight [outputs, inputs] in `dtype`.

    Queries carry the factor on the scores; q, k and v are one weight, as are gate and up.
    """
    tower = params["decoder"]

    def layer(index: int) -> Tree:
        own, cross, feed = (
            {name: weight[index] for name, weight in tower[block].items()}
            for block in ("attention", "cross_attention", "feed_forward")
        )
        qkv_3xHxKxD = jnp.transpose(own["qkv"], (2, 1, 3, 0)).at[0].multiply(config.scale)
        halves = [feed[name].T for name in ("gate", "up") if name in feed]
        weights = {
            "qkv": qkv_3xHxKxD.reshape(-1, config.d_model),
            "out": own["out"].reshape(config.d_model, -1),
            "query": jnp.moveaxis(cross["query"] * config.scale, 0, -1).reshape(-1, config.d_model),
            "key_value": jnp.moveaxis(cross["key_value"], (2, 0), (0, 3)),
            "cross_out": cross["out"].reshape(config.d_model, -1),
            "up": jnp.concatenate(halves),
            "down": feed["down"],
        }
        if "prefix" in own:
            weights["prefix"] = own["prefix"]
        weights = {name: weight.astype(dtype) for name, weight in weights.items()}
        norms = {name: tower[name]["scale"][index] for name in tower if name.endswith("_norm")}
        return weights | norms

    table = params["embedding" if config.tied_head else "head"][: config.vocab_size]
    return {
        "layers": tuple(layer(index) for index in range(config.decoder_layers)),
        "embedding": params["embedding"].astype(dtype),
        "head": table.astype(dtype),
        "norm": params["decoder_norm"]["scale"],
        **({"bias": params["decoder_bias"]["table"]} if "decoder_bias" in params else {}),
    }


def remember(weights: Tree, memory_BxSxD: jax.Array, seen_BxS: jax.Array) -> Memory:
    """Keys and values of the encoder's output for every layer of the decoder."""

    def layer(key_value_2xHxKxD: jax.Array) -> KeyValue:
        key_HxKxD, value_HxKxD = key_value_2xHxKxD
        keys_BxHxKxS = jnp.einsum("hkd,bsd->bhks", key_HxKxD, memory_BxSxD)
        return keys_BxHxKxS, jnp.einsum("hkd,bsd->bhsk", value_HxKxD, memory_BxSxD)

    return Memory(tuple(layer(layer_["key_value"]) for layer_ in weights["layers"]), seen_BxS.astype(bool))


def empty_cache(config: EncoderDecoderConfig, weights: Tree, batch: int, columns: int) -> Cache:
    """A cache of zeros with `columns` columns, behind a tuned model's prefix where it has one."""

    def layer(layer_: Tree) -> KeyValue:
        dtype = layer_["qkv"].dtype
        keys = jnp.zeros((batch, config.heads, columns, config.width), dtype)
        values = keys
        if "prefix" in layer_:
            keys, values = attention.put_before(layer_["prefix"], keys, values)
        return jnp.swapaxes(keys, 2, 3), values

    return tuple(layer(layer_) for layer_ in weights["layers"])


def bias_by_distance(config: EncoderDecoderConfig, weights: Tree, length: int) -> jax.Array | None:
    """T5's bias for a key that stands 0 to length - 1 tokens before its query, fp32 [H, length]."""
    if "bias" not in weights:
        return None
    buckets_LxL = positions.relative_buckets(
        length,
        length,
        bidirectional=False,
        buckets=config.relative_buckets,
        max_distance=config.relative_max_distance,
    )
    return weights["bias"].astype(jnp.float32)[buckets_LxL[-1, ::-1]].T  # the last query's, nearest key first


def extend(
    config: EncoderDecoderConfig,
    weights: Tree,
    memory: Memory,
    cache: Cache,
    tokens_BxM: jax.Array,
    positions_BxM: jax.Array,
    column: jax.Array | int,
    visible_BxMxC: jax.Array,
    bias: jax.Array | None,
) -> tuple[jax.Array, Cache]:
    """M new tokens of each example, written into the cache's columns from `column` on.

    Args:
      config: the model's shape.
      weights: from `prepare`.
      memory: from `remember`.
      cache: from `empty_cache` or an earlier call.
      tokens_BxM: int32 decoder inputs.
      positions_BxM: int32, where each stands in its sequence (for rotary positions).
      column: the first of their M columns.
      visible_BxMxC: bool, which columns each token looks at; its own must be among them.
      bias: added to the scores, broadcast to [B, H, M, C]; from `bias_by_distance`, or None.

    Returns:
      final hidden states scaled for the head, [D, B * M], and the new cache.
    """
    batch, new = tokens_BxM.shape
    x_DxR = weights["embedding"][tokens_BxM.reshape(-1)].T
    rotation = None
    if config.position == "rotary":
        rotation = positions.rotation(positions_BxM, config.width)
    mask_Bx1xMxC, seen_Bx1x1xS = visible_BxMxC[:, None], memory.seen_BxS[:, None, None]

    def heads(projected: jax.Array) -> jax.Array:
        return projected.reshape(config.heads, config.width, batch, new).transpose(2, 0, 3, 1)

    def merged(heads_BxHxMxK: jax.Array) -> jax.Array:
        return heads_BxHxMxK.transpose(1, 3, 0, 2).reshape(-1, batch * new)

    written = []
    for layer, (keys, values), memory_keys_values in zip(
        weights["layers"], cache, memory.layers, strict=True
    ):
        projected = jnp.split(layer["qkv"] @ _norm(x_DxR, layer["attention_norm"]), 3)
        q, k, v = (heads(part) for part in projected)
        if rotation is not None:
            q, k = positions.rotate(q, rotation), positions.rotate(k, rotation)
        at = keys.shape[3] - visible_BxMxC.shape[2] + column
        keys = jax.lax.dynamic_update_slice(keys, jnp.swapaxes(k, 2, 3), (0, 0, 0, at))
        values = jax.lax.dynamic_update_slice(values, v, (0, 0, at, 0))
        written.append((keys, values))
        sees = attention.over_prefix(keys.shape[3], mask_Bx1xMxC, bias)
        x_DxR += layer["out"] @ merged(_attend(q, keys, values, *sees))

        q = heads(layer["query"] @ _norm(x_DxR, layer["cross_attention_norm"]))
        x_DxR += layer["cross_out"] @ merged(_attend(q, *memory_keys_values, seen_Bx1x1xS, None))

        hidden = layer["up"] @ _norm(x_DxR, layer["feed_forward_norm"])
        act = ACTIVATIONS[config.activation]
        if config.gated:
            gate, up = jnp.split(hidden, 2)
            hidden = act(gate) * up
        else:
            hidden = act(hidden)
        x_DxR += layer["down"] @ hidden
    return _norm(x_DxR, weights["norm"]) * config.head_scale, tuple(written)


def logits(weights: Tree, hidden_DxR: jax.Array) -> jax.Array:
    """fp32 logits [V, R] of hidden states [D, R]."""
    return jnp.matmul(weights["head"], hidden_DxR, preferred_element_type=jnp.float32)


def _norm(x_DxR: jax.Array, scale_D: jax.Array) -> jax.Array:
    return rms_norm(x_DxR.T, scale_D).T


def _attend(
    q_BxHxMxK: jax.Array, k_BxHxKxC: jax.Array, v_BxHxCxK: jax.Array, mask: jax.Array, bias: jax.Array | None
) -> jax.Array:
    """softmax(q k + bias, where mask) v, [B, H, M, K]; the softmax in fp32, q scaled already."""
    scores = jnp.einsum("bhmk,bhkc->bhmc", q_BxHxMxK, k_BxHxKxC, preferred_element_type=jnp.float32)
    if bias is not None:
        scores += bias
    scores = jnp.where(mask, scores, jnp.finfo(jnp.float32).min)
    exp = jnp.exp(scores - jnp.max(scores, axis=-1, keepdims=True))
    inverse = 1.0 / jnp.sum(exp, axis=-1, keepdims=True)
    dtype = v_BxHxCxK.dtype
    out = jnp.einsum("bhmc,bhck->bhmk", exp.astype(dtype), v_BxHxCxK, preferred_element_type=jnp.float32)
    return (out * inverse).astype(dtype)
