"""Which tensors of a published Pangu model are which arrays of our decoder: one table, for both directions.

Theirs are matrices [out, in], one for each layer and projection. Ours hold all layers (first axis), have
heads as an axis of their own, and keys with values in one array. Halves of a head are turned against each
other on both sides, so that no row moves.
"""

from collections.abc import Iterator

import numpy as np

from pangu_jax.runs.exchange.parts import ForeignTensor, tensor
from pangu_jax.workloads.language.model.decoder import DecoderConfig

EMBEDDING, HEAD, NORM = "model.embed_tokens.weight", "lm_head.weight", "model.norm.weight"
LAYER = "model.layers.{}."
BIAS = LAYER.format(0) + "self_attn.o_proj.bias"
FREQUENCIES = "self_attn.rotary_emb.inv_freq"  # of every layer, no parameter
HEADS_LAST = "201"  # their [heads, kv, in] as our [in, heads, kv]


def table(config: DecoderConfig) -> list[ForeignTensor]:
    """Every tensor that a published file of this shape has, its frequencies apart."""
    rows = config.vocab_size, config.d_model
    found = [tensor(EMBEDDING, rows, "embedding")]
    for layer in range(config.layers):
        found += _layer(config, layer)
    found.append(tensor(NORM, (config.d_model,), "decoder_norm/scale"))
    if not config.tied_head:
        found.append(tensor(HEAD, rows, "head"))
    return found


def _layer(config: DecoderConfig, layer: int) -> Iterator[ForeignTensor]:
    name = LAYER.format(layer)
    d, f, width = config.d_model, config.d_ff, config.width
    attention, theirs = "decoder/attention/", name + "self_attn."
    for part, path, heads, at in (
        ("q", "query", config.heads, (layer,)),
        ("k", "key_value", config.kv_heads, (layer, ..., 0, slice(None))),
        ("v", "key_value", config.kv_heads, (layer, ..., 1, slice(None))),
    ):
        joined = heads * width
        yield tensor(
            f"{theirs}{part}_proj.weight", (joined, d), attention + path, at, (heads, width, d), HEADS_LAST
        )
        if config.biases:
            yield tensor(
                f"{theirs}{part}_proj.bias", (joined,), f"{attention}{path}_bias", at, (heads, width)
            )
    joined = config.heads * width
    yield tensor(f"{theirs}o_proj.weight", (d, joined), attention + "out", (layer,), (d, config.heads, width))
    if config.biases:
        yield tensor(f"{theirs}o_proj.bias", (d,), attention + "out_bias", (layer,))
    feed = "decoder/feed_forward/"
    for part in ("gate", "up"):
        yield tensor(f"{name}mlp.{part}_proj.weight", (f, d), feed + part, (layer,), order="10")
    yield tensor(f"{name}mlp.down_proj.weight", (d, f), feed + "down", (layer,))
    yield tensor(f"{name}input_layernorm.weight", (d,), "decoder/attention_norm/scale", (layer,))
    yield tensor(f"{name}post_attention_layernorm.weight", (d,), "decoder/feed_forward_norm/scale", (layer,))


def frequencies(theta: float, width: int) -> np.ndarray:
    """theta^(-2i / width), fp32 [width / 2], as the published code computes them."""
    exponents = np.arange(0, width, 2, dtype=np.int64).astype(np.float32) / np.float32(width)
    return (np.float32(1.0) / np.power(np.float32(theta), exponents)).astype(np.float32)
