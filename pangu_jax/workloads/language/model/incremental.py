"""The decoder a few tokens at a time: what earlier tokens left in a cache is not computed again.

Activations are feature-major here, [features, rows], and every weight is stored output first. A product is
then weight [N, D] times rows [D, R], which a CPU computes for 8 to 32 rows at the speed at which it reads the
weight, twice as fast as rows times weight; `prepare` brings the weights into that form once. N and D may be
several dimensions, which the compiler flattens: heads stay one of them and can be split over devices.

One function, `extend`, is a step of greedy search (one token per example), of beam search (a token per beam,
the beams of an example sharing its memory), the reading of a given prefix and the scoring of candidates: new
tokens of an example look at the columns of its cache that the caller shows them, and at its encoder's output.

Where the backend has kernels for few rows (`OneDevice.native`), they do the products and the attention.

On a mesh the placement points are those of training: weights are kept in the shards of storage and gathered
when they are used, an example's rows are where its batch row is, and its cache is split by heads as well.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from pangu_jax.models import attention, native, positions
from pangu_jax.models.feed_forward import ACTIVATIONS
from pangu_jax.models.normalization import rms_norm
from pangu_jax.models.parameters import Tree
from pangu_jax.workloads.language.model.encoder_decoder import EncoderDecoderConfig
from pangu_jax.workloads.language.model.forward import Forward

KeyValue = tuple[jax.Array, jax.Array]  # keys [B, H, K, C] and values [B, H, C, K] of a layer
Cache = tuple[KeyValue, ...]


class EncoderMemory(NamedTuple):
    """What the decoder reads of the encoder's output, computed once.

    Attributes:
      layers: of each layer keys [B, H, K, S] and values [B, H, S, K].
      seen_BxS: bool, False for padding.
    """

    layers: tuple[KeyValue, ...]
    seen_BxS: jax.Array


# Logical axes of the weights of a layer, in the form of `prepare`, and of those outside of the layers.
LAYER_AXES = {
    "qkv": (None, "heads", "kv", "embed"),
    "out": ("embed", "heads", "kv"),
    "query": ("heads", "kv", "embed"),
    "key_value": (None, "heads", "kv", "embed"),
    "cross_out": ("embed", "heads", "kv"),
    "up": (None, "mlp", "embed"),
    "down": ("embed", "mlp"),
    "prefix": attention.PREFIX,
}
TABLE = ("vocab", "embed")
# Weights that multiply few rows, and how many of their last dimensions are summed over.
PACKED = {"qkv": 1, "out": 2, "query": 1, "cross_out": 2, "up": 1, "down": 1}
KEYS, VALUES = ("batch", "heads", "kv", None), ("batch", "heads", None, "kv")


def has_kernels(forward: Forward) -> bool:
    """Whether products and attention of a few rows are the backend's kernels."""
    fits = forward.dtype == jnp.float32 and forward.config.width % native.LANES == 0
    return fits and native.takes(forward.placement)


def prepare(forward: Forward, params: Tree) -> Tree:
    """The decoder's weights for `extend`: a dict per layer, outputs first, in the dtype of products.

    Queries carry the factor on the scores; q, k and v are one weight, as are gate and up.
    """
    config, placement = forward.config, forward.placement
    tower = params["decoder"]

    def layer(index: int) -> Tree:
        own, cross, feed = (
            {name: weight[index] for name, weight in tower[block].items()}
            for block in ("attention", "cross_attention", "feed_forward")
        )
        weights = {
            "qkv": jnp.transpose(own["qkv"], (2, 1, 3, 0)).at[0].multiply(config.scale),
            "out": own["out"],
            "query": jnp.moveaxis(cross["query"] * config.scale, 0, -1),
            "key_value": jnp.moveaxis(cross["key_value"], (2, 0), (0, 3)),
            "cross_out": cross["out"],
            "up": jnp.stack([feed[name].T for name in ("gate", "up") if name in feed]),
            "down": feed["down"],
        }
        if "prefix" in own:
            weights["prefix"] = own["prefix"]
        weights = {name: weight.astype(forward.dtype) for name, weight in weights.items()}
        weights: dict[str, Any] = dict(
            placement.stored(weights, {name: LAYER_AXES[name] for name in weights})
        )
        if has_kernels(forward):
            for name, inputs in PACKED.items():
                weights[name] = native.pack(weights[name], inputs, forward.weights)
        norms = {name: tower[name]["scale"][index] for name in tower if name.endswith("_norm")}
        return {**weights, **norms}

    # The decoder reads and writes words; the rows below them are a soft prompt's, which the encoder reads.
    tables = {"embedding": params["embedding"], "head": params["embedding" if config.tied_head else "head"]}
    tables = {name: table[: config.vocab_size].astype(forward.dtype) for name, table in tables.items()}
    tables: dict[str, Any] = dict(placement.stored(tables, dict.fromkeys(tables, TABLE)))
    if has_kernels(forward):
        tables["head"] = native.pack(tables["head"], 1, forward.weights)
    return {
        "layers": tuple(layer(index) for index in range(config.decoder_layers)),
        **tables,
        "norm": params["decoder_norm"]["scale"],
        **({"bias": params["decoder_bias"]["table"]} if "decoder_bias" in params else {}),
    }


def encode_memory(
    forward: Forward, weights: Tree, memory_BxSxD: jax.Array, seen_BxS: jax.Array
) -> EncoderMemory:
    """Keys and values of the encoder's output for every layer of the decoder."""

    def layer(layer_: Tree) -> KeyValue:
        key_HxKxD, value_HxKxD = _gathered(forward, layer_, "key_value")
        keys_BxHxKxS = jnp.einsum("hkd,bsd->bhks", key_HxKxD, memory_BxSxD)
        values_BxHxSxK = jnp.einsum("hkd,bsd->bhsk", value_HxKxD, memory_BxSxD)
        return forward.placement.inside(keys_BxHxKxS, KEYS), forward.placement.inside(values_BxHxSxK, VALUES)

    return EncoderMemory(tuple(layer(layer_) for layer_ in weights["layers"]), seen_BxS.astype(bool))


def empty_cache(forward: Forward, weights: Tree, batch: int, columns: int) -> Cache:
    """A cache of zeros with `columns` columns, behind a tuned model's prefix where it has one."""

    def layer(layer_: Tree) -> KeyValue:
        keys = jnp.zeros((batch, forward.config.heads, columns, forward.config.width), forward.dtype)
        values = keys
        if "prefix" in layer_:
            keys, values = attention.put_before(layer_["prefix"], keys, values)
        keys_BxHxKxC = jnp.swapaxes(keys, 2, 3)
        return forward.placement.inside(keys_BxHxKxC, KEYS), forward.placement.inside(values, VALUES)

    return tuple(layer(layer_) for layer_ in weights["layers"])


def bias_by_distance(config: EncoderDecoderConfig, weights: Tree, length: int) -> jax.Array | None:
    """T5's bias for a key that is 0 to length - 1 tokens before its query, fp32 [H, length]."""
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
    forward: Forward,
    weights: Tree,
    memory: EncoderMemory,
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
      memory: from `encode_memory`.
      cache: from `empty_cache` or an earlier call.
      tokens_BxM: int32 decoder inputs.
      positions_BxM: int32, the position of each in its sequence (for rotary positions).
      column: the first of their M columns.
      visible_BxMxC: bool, which columns each token looks at; its own must be among them.
      bias: added to the scores, broadcast to [B, H, M, C]; from `bias_by_distance`, or None.

    Returns:
      final hidden states scaled for the head, [D, B * M], and the new cache.
    """
    config, placement = forward.config, forward.placement
    batch, new = tokens_BxM.shape
    embedded_BxMxD = placement.leave(placement.lookup(_gathered(forward, weights, "embedding"), tokens_BxM))
    x_DxR = embedded_BxMxD.reshape(batch * new, -1).T
    rotation = None
    if config.position == "rotary":
        rotation = positions.rotation(positions_BxM, config.width)
    mask_Bx1xMxC, seen_Bx1x1xS = visible_BxMxC[:, None], memory.seen_BxS[:, None, None]

    def heads(projected_HxKxR: jax.Array) -> jax.Array:
        heads_HxKxBxM = projected_HxKxR.reshape(config.heads, config.width, batch, new)
        return placement.inside(heads_HxKxBxM.transpose(2, 0, 3, 1), VALUES)

    def merged(heads_BxHxMxK: jax.Array) -> jax.Array:
        heads_HxKxBxM = placement.inside(heads_BxHxMxK, VALUES).transpose(1, 3, 0, 2)
        return heads_HxKxBxM.reshape(config.heads, config.width, batch * new)

    def leave(y_DxR: jax.Array) -> jax.Array:
        return placement.inside(y_DxR, ("embed", "batch"))

    attend = _attend_by_kernel if has_kernels(forward) else _attend
    written = []
    for layer, (keys, values), memory_keys_values in zip(
        weights["layers"], cache, memory.layers, strict=True
    ):
        times = partial(_times, forward, layer)
        projected_3xHxKxR = times("qkv", _norm(x_DxR, layer["attention_norm"]))
        q, k, v = (heads(part_HxKxR) for part_HxKxR in projected_3xHxKxR)
        if rotation is not None:
            q, k = positions.rotate(q, rotation), positions.rotate(k, rotation)
        at = keys.shape[3] - visible_BxMxC.shape[2] + column
        keys = jax.lax.dynamic_update_slice(keys, jnp.swapaxes(k, 2, 3), (0, 0, 0, at))
        values = jax.lax.dynamic_update_slice(values, v, (0, 0, at, 0))
        keys, values = placement.inside(keys, KEYS), placement.inside(values, VALUES)
        written.append((keys, values))
        sees = attention.over_prefix(keys.shape[3], mask_Bx1xMxC, bias)
        x_DxR += leave(times("out", merged(attend(q, keys, values, *sees))))

        normed_DxR = _norm(x_DxR, layer["cross_attention_norm"])
        attended_HxKxR = merged(
            attend(heads(times("query", normed_DxR)), *memory_keys_values, seen_Bx1x1xS, None)
        )
        x_DxR += leave(times("cross_out", attended_HxKxR))

        halves = times("up", _norm(x_DxR, layer["feed_forward_norm"]))
        act = ACTIVATIONS[config.activation]
        hidden_FxR = act(halves[0]) * halves[1] if config.gated else act(halves[0])
        x_DxR += leave(times("down", placement.inside(hidden_FxR, ("mlp", "batch"))))
    return _norm(x_DxR, weights["norm"]) * config.head_scale, tuple(written)


def logits(forward: Forward, weights: Tree, hidden_DxR: jax.Array) -> jax.Array:
    """fp32 logits [V, R] of hidden states [D, R]; on a mesh in parts of the vocabulary."""
    logits_VxR = _times(forward, weights, "head", hidden_DxR, jnp.float32)
    return forward.placement.inside(logits_VxR, ("vocab", "batch"))


def _gathered(forward: Forward, weights: Tree, name: str) -> jax.Array:
    """A weight as it is multiplied."""
    axes = LAYER_AXES.get(name, TABLE)
    return forward.placement.weights({name: weights[name]}, {name: axes})[name]


def _times(forward: Forward, weights: Tree, name: str, x: jax.Array, dtype: Any = None) -> jax.Array:
    """A weight [*outputs, *inputs] times x [*inputs, R]: [*outputs, R]."""
    if isinstance(weights[name], native.Packed):
        return native.product(weights[name], x)
    return jnp.tensordot(_gathered(forward, weights, name), x, x.ndim - 1, preferred_element_type=dtype)


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


def _attend_by_kernel(
    q_BxHxMxK: jax.Array, k_BxHxKxC: jax.Array, v_BxHxCxK: jax.Array, mask: jax.Array, bias: jax.Array | None
) -> jax.Array:
    """As `_attend`; the mask [B, 1, M, C] and the bias [H, M, C], M or 1 of them."""
    return native.attend(q_BxHxMxK, k_BxHxKxC, v_BxHxCxK, mask[:, 0], bias)
