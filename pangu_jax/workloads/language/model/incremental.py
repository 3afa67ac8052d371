"""The decoder a few tokens at a time: what earlier tokens left in a cache is not computed again.

Activations are feature-major here, [features, rows], and every weight is stored output first. A product is
then weight [N, D] times rows [D, R], which a CPU computes for 8 to 32 rows at the speed at which it reads the
weight, twice as fast as rows times weight; `prepare` brings the weights into that form once. N and D may be
several dimensions, which the compiler flattens: heads stay one of them and can be split over devices.

A decoder alone has no encoder's output, and may have fewer heads of keys than of queries; a head of keys then
meets the queries of all its heads as more rows. With latent attention a cache holds latents (`latent_cache`).

One function, `extend`, is a step of greedy search (one token per example), of beam search (a token per beam,
the beams of an example sharing its memory), the reading of a given prefix and the scoring of candidates: new
tokens of an example look at the columns of its cache that the caller shows them, and at its encoder's output.

Where the backend has kernels for few rows (`OneDevice.native`), they do the products and the attention.

On a mesh the placement points are those of training: weights are kept in the shards of storage and gathered
when they are used, an example's rows are where its batch row is, and its cache is split by heads as well.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from pangu_jax.models import attention, latent_cache, positions
from pangu_jax.models.feed_forward import ACTIVATIONS
from pangu_jax.models.normalization import normed
from pangu_jax.models.parameters import Tree
from pangu_jax.models.placement import LogicalAxes
from pangu_jax.workloads.language.model import learned_positions, routed
from pangu_jax.workloads.language.model.architecture import Architecture
from pangu_jax.workloads.language.model.decoder_weights import gathered, has_kernels, times_weight
from pangu_jax.workloads.language.model.encoder_decoder import EncoderDecoderConfig
from pangu_jax.workloads.language.model.forward import Forward
from pangu_jax.workloads.language.model.incremental_attention import (
    attend_by_cudnn,
    attend_by_kernel,
    attend_plainly,
    grouped,
)
from pangu_jax.workloads.language.model.incremental_experts import visit

KeyValue = tuple[jax.Array, jax.Array]  # keys [B, G, K, C] and values [B, G, C, K] of a layer's kv heads
Cache = tuple[KeyValue | jax.Array, ...]  # of a layer of latent attention, latents and shared keys [B, C, E]


class EncoderMemory(NamedTuple):
    """What the decoder reads of the encoder's output, computed once.

    Attributes:
      layers: of each layer keys [B, H, K, S] and values [B, H, S, K].
      seen_BxS: bool, False for padding.
    """

    layers: tuple[KeyValue, ...]
    seen_BxS: jax.Array


KEYS, VALUES = ("batch", "kv_heads", "kv", None), ("batch", "kv_heads", None, "kv")
QUERIES = ("batch", "heads", None, "kv")


def encode_memory(
    forward: Forward, weights: Tree, memory_BxSxD: jax.Array, seen_BxS: jax.Array
) -> EncoderMemory:
    """Keys and values of the encoder's output for every layer of the decoder."""

    def layer(layer_: Tree) -> KeyValue:
        key_HxKxD, value_HxKxD = gathered(forward, layer_, "key_value")
        keys_BxHxKxS = jnp.einsum("hkd,bsd->bhks", key_HxKxD, memory_BxSxD)
        values_BxHxSxK = jnp.einsum("hkd,bsd->bhsk", value_HxKxD, memory_BxSxD)
        return forward.placement.inside(keys_BxHxKxS, KEYS), forward.placement.inside(values_BxHxSxK, VALUES)

    return EncoderMemory(tuple(layer(layer_) for layer_ in weights["layers"]), seen_BxS.astype(bool))


def empty_cache(forward: Forward, weights: Tree, batch: int, columns: int) -> Cache:
    """A cache of zeros with `columns` columns, behind a tuned model's prefix where it has one."""
    config = forward.config

    def layer(layer_: Tree) -> KeyValue | jax.Array:
        if config.latent:
            latents_BxCxE = latent_cache.empty(config.latent, batch, columns, forward.dtype)
            return forward.placement.inside(latents_BxCxE, latent_cache.CACHE)
        keys = jnp.zeros((batch, config.kv_heads, columns, config.width), forward.dtype)
        values = keys
        if "prefix" in layer_:
            keys, values = attention.put_before(layer_["prefix"], keys, values)
        keys_BxHxKxC = jnp.swapaxes(keys, 2, 3)
        return forward.placement.inside(keys_BxHxKxC, KEYS), forward.placement.inside(values, VALUES)

    return tuple(layer(layer_) for layer_ in weights["layers"])


def bias_by_distance(config: Architecture, weights: Tree, length: int) -> jax.Array | None:
    """T5's bias for a key that is 0 to length - 1 tokens before its query, fp32 [H, length]."""
    if "bias" not in weights:
        return None
    assert isinstance(config, EncoderDecoderConfig), "no other has a bias"
    buckets_LxL = config.buckets(length, bidirectional=False)
    return weights["bias"].astype(jnp.float32)[buckets_LxL[-1, ::-1]].T  # the last query's, nearest key first


def extend(
    forward: Forward,
    weights: Tree,
    memory: EncoderMemory | None,
    cache: Cache,
    tokens_BxM: jax.Array,
    positions_BxM: jax.Array,
    column: jax.Array | int,
    visible_BxMxC: jax.Array,
    bias: jax.Array | None,
) -> tuple[jax.Array, Cache]:
    """M new tokens of each example, written into the cache's columns from `column` on.

    Args:
      forward: the model's shape, its dtype and placement.
      weights: from `prepare`.
      memory: from `encode_memory`; None for a decoder alone.
      cache: from `empty_cache` or an earlier call.
      tokens_BxM: int32 decoder inputs.
      positions_BxM: int32, the position of each in its sequence (for rotary positions).
      column: the first of their M columns.
      visible_BxMxC: bool, which columns each token looks at; its own must be among them.
      bias: added to the scores, broadcast to [B, H, M, C]; from `bias_by_distance`, or None.

    Returns:
      final hidden states scaled for the head, [D, B * M], and the new cache.
    """
    x_DxR, layers = embed(forward, weights, tokens_BxM), weights["layers"]
    if "positions" in weights:
        x_DxR += placed(forward, weights["positions"], positions_BxM)
    asking = "queries" in weights  # in its last layer, which is behind the norm
    below = len(layers) - asking
    shown = positions_BxM, column, visible_BxMxC, bias
    x_DxR, written = through_layers(forward, layers[:below], memory, cache[:below], x_DxR, *shown)
    x_DxR = _norm(forward, x_DxR, weights["norm"]) * forward.config.head_scale
    if asking:
        queries_DxR = placed(forward, weights["queries"], positions_BxM)
        x_DxR, last = through_layers(forward, layers[below:], None, cache[below:], x_DxR, *shown, queries_DxR)
        written += last
    return x_DxR, written


def embed(forward: Forward, weights: Tree, tokens_BxM: jax.Array) -> jax.Array:
    """The vectors of tokens, [D, B * M]."""
    placement = forward.placement
    embedded_BxMxD = placement.leave(placement.lookup(gathered(forward, weights, "embedding"), tokens_BxM))
    return embedded_BxMxD.reshape(tokens_BxM.size, -1).T


def placed(forward: Forward, params: Tree, positions_BxM: jax.Array) -> jax.Array:
    """The vectors of positions in a table of them, [D, B * M]."""
    table_PxD = learned_positions.gathered(params, forward.dtype, forward.placement)
    return table_PxD[positions_BxM].reshape(positions_BxM.size, -1).T


def through_layers(
    forward: Forward,
    layers: tuple[Tree, ...],
    memory: EncoderMemory | None,
    cache: Cache,
    x_DxR: jax.Array,
    positions_BxM: jax.Array,
    column: jax.Array | int,
    visible_BxMxC: jax.Array,
    bias: jax.Array | None,
    queries_DxR: jax.Array | None = None,
) -> tuple[jax.Array, Cache]:
    """The residual stream after some layers, and their cache; otherwise as `extend`.

    Queries are made of `queries` where they are given.
    """
    config, placement = forward.config, forward.placement
    batch, new = positions_BxM.shape
    rotation = None
    if config.position == "rotary":
        rotation = positions.rotation(positions_BxM, config.rotary, config.rope_theta)
    mask_Bx1xMxC = visible_BxMxC[:, None]

    def heads(projected_HxKxR: jax.Array, axes: LogicalAxes = QUERIES) -> jax.Array:
        heads_HxKxBxM = projected_HxKxR.reshape(*projected_HxKxR.shape[:2], batch, new)
        return placement.inside(heads_HxKxBxM.transpose(2, 0, 3, 1), axes)

    def merged(heads_BxHxMxK: jax.Array) -> jax.Array:
        heads_HxKxBxM = placement.inside(heads_BxHxMxK, QUERIES).transpose(1, 3, 0, 2)
        return heads_HxKxBxM.reshape(config.heads, config.width, batch * new)

    def leave(y_DxR: jax.Array) -> jax.Array:
        return placement.inside(y_DxR, ("embed", "batch"))

    def added(layer: Tree, kind: str, y_DxR: jax.Array) -> jax.Array:
        post = layer.get(f"{kind}_post_norm")
        return y_DxR if post is None else _norm(forward, y_DxR, post)

    def own_heads(layer: Tree, normed_DxR: jax.Array) -> tuple[jax.Array, ...]:
        times = partial(times_weight, forward, layer)
        if "qkv" in layer:
            q, k, v = times("qkv", normed_DxR)
        else:
            asking_DxR = normed_DxR if queries_DxR is None else queries_DxR
            q, (k, v) = times("own_query", asking_DxR), times("own_key_value", normed_DxR)
        if "query_bias" in layer:
            q += layer["query_bias"][..., None]
            k, v = (
                part + bias[..., None] for part, bias in zip((k, v), layer["key_value_bias"], strict=True)
            )
        return heads(q), heads(k, VALUES), heads(v, VALUES)

    def attend_own(layer: Tree, kept: KeyValue, normed_DxR: jax.Array) -> tuple[jax.Array, KeyValue]:
        keys, values = kept
        q, k, v = own_heads(layer, normed_DxR)
        if rotation is not None:
            q, k = positions.rotate(q, rotation), positions.rotate(k, rotation)
        at = keys.shape[3] - visible_BxMxC.shape[2] + column
        keys = jax.lax.dynamic_update_slice(keys, jnp.swapaxes(k, 2, 3), (0, 0, 0, at))
        values = jax.lax.dynamic_update_slice(values, v, (0, 0, at, 0))
        keys, values = placement.inside(keys, KEYS), placement.inside(values, VALUES)
        sees = attention.over_prefix(keys.shape[3], mask_Bx1xMxC, bias)
        y_DxR = leave(times_weight(forward, layer, "out", merged(attend(q, keys, values, *sees))))
        if "out_bias" in layer:
            y_DxR += layer["out_bias"][:, None]
        return y_DxR, (keys, values)

    def attend_latents(layer: Tree, kept: jax.Array, normed_DxR: jax.Array) -> tuple[jax.Array, jax.Array]:
        assert config.latent and rotation is not None, "of latent attention"
        up = {name: gathered(forward, layer, name) for name in ("key_up", "value_up")}
        y_DxR, kept = latent_cache.extend(
            partial(times_weight, forward, layer),
            {**layer, **up},
            normed_DxR,
            rotation,
            kept,
            column,
            visible_BxMxC,
            partial(attend_plainly, bias=None),
            config.latent,
            placement,
        )
        return leave(y_DxR), kept

    attend = partial(grouped, attend_by_kernel if has_kernels(forward) else attend_plainly)
    if forward.kernel == "flash" and placement.platform == "gpu":
        attend = partial(attend_by_cudnn, placement, attend_plainly)
    attend_first: Callable[..., tuple[jax.Array, Any]] = attend_latents if config.latent else attend_own
    written = []
    of_memory = memory.layers if memory else (None,) * len(cache)
    for layer, kept, memory_keys_values in zip(layers, cache, of_memory, strict=True):
        times = partial(times_weight, forward, layer)
        y_DxR, kept = attend_first(layer, kept, _norm(forward, x_DxR, layer["attention_norm"]))
        written.append(kept)
        x_DxR += added(layer, "attention", y_DxR)

        if memory and memory_keys_values:
            normed_DxR = _norm(forward, x_DxR, layer["cross_attention_norm"])
            seen_Bx1x1xS = memory.seen_BxS[:, None, None]
            attended_HxKxR = merged(
                attend(heads(times("query", normed_DxR)), *memory_keys_values, seen_Bx1x1xS, None)
            )
            x_DxR += leave(times("cross_out", attended_HxKxR))

        if routed.KEY in layer:
            normed_DxR = _norm(forward, x_DxR, layer["experts_norm"])
            x_DxR += added(layer, routed.KEY, leave(visit(forward, layer[routed.KEY], normed_DxR, batch)))
            continue
        halves = times("up", _norm(forward, x_DxR, layer["feed_forward_norm"]))
        if "up_bias" in layer:
            halves += layer["up_bias"][..., None]
        act = ACTIVATIONS[config.activation]
        hidden_FxR = act(halves[0]) * halves[1] if config.gated else act(halves[0])
        fed_DxR = leave(times("down", placement.inside(hidden_FxR, ("mlp", "batch"))))
        if "down_bias" in layer:
            fed_DxR += layer["down_bias"][:, None]
        x_DxR += added(layer, "feed_forward", fed_DxR)
    return x_DxR, tuple(written)


def logits(forward: Forward, weights: Tree, hidden_DxR: jax.Array) -> jax.Array:
    """fp32 logits [V, R] of hidden states [D, R]; on a mesh in parts of the vocabulary."""
    logits_VxR = times_weight(forward, weights, "head", hidden_DxR, jnp.float32)
    return forward.placement.inside(logits_VxR, ("vocab", "batch"))


def _norm(forward: Forward, x_DxR: jax.Array, norm: Tree) -> jax.Array:
    return normed(x_DxR.T, norm, forward.config.epsilon).T
