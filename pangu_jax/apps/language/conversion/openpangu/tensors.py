"""Which tensors of a published Pangu model are which arrays of our decoder: one table, for both directions.

Theirs are matrices [out, in], one for each layer, projection and expert. Ours hold all layers (first axis),
have heads as an axis of their own, and keys with values in one array. Halves of a head are turned against
each other on both sides, or pairs of it on both, so that no row moves.
"""

from collections.abc import Iterator

import numpy as np

from pangu_jax.models.latent_attention import LatentWidths
from pangu_jax.runs.exchange.parts import ForeignTensor, tensor
from pangu_jax.workloads.language.model.decoder import DecoderConfig

EMBEDDING, HEAD, NORM = "model.embed_tokens.weight", "lm_head.weight", "model.norm.weight"
LAYER = "model.layers.{}."
BIAS = LAYER.format(0) + "self_attn.o_proj.bias"
FREQUENCIES = "self_attn.rotary_emb.inv_freq"  # of every layer, no parameter
CORRECTION = "mlp.gate.e_score_correction_bias"
HEADS_LAST = "201"  # their [heads, kv, in] as our [in, heads, kv]
Table = Iterator[ForeignTensor]


def table(config: DecoderConfig, corrected: bool = True) -> list[ForeignTensor]:
    """Every tensor that a published file of this shape has, its frequencies and copies apart.

    Args:
      config: the shape.
      corrected: whether routers by sigmoids have a correction bias in the files.
    """
    rows = config.vocab_size, config.d_model
    found = [tensor(EMBEDDING, rows, "embedding")]
    for layer in range(config.layers):
        dense = layer < config.dense_layers
        at = layer if dense else layer - config.dense_layers
        found += _layer(config, LAYER.format(layer), "dense/" if dense else "decoder/", at, corrected)
    found.append(tensor(NORM, (config.d_model,), "decoder_norm/scale"))
    if not config.tied_head:
        found.append(tensor(HEAD, rows, "head"))
    if config.predictions:
        found += _prediction(config, LAYER.format(config.layers), corrected)
    return found


def copies(config: DecoderConfig) -> dict[str, str]:
    """Tensors that a file has twice -> the other name."""
    if not config.predictions:
        return {}
    name = LAYER.format(config.layers)
    return {f"{name}embed_tokens.weight": EMBEDDING, f"{name}shared_head.head.weight": HEAD}


def _prediction(config: DecoderConfig, name: str, corrected: bool) -> Table:
    """The module that predicts one token further: a layer behind the last."""
    width = (config.d_model,)
    for theirs, ours in (("enorm", "token_norm"), ("hnorm", "hidden_norm"), ("shared_head.norm", "norm")):
        yield tensor(f"{name}{theirs}.weight", width, f"prediction/{ours}/scale")
    d = config.d_model
    yield tensor(f"{name}eh_proj.weight", (d, 2 * d), "prediction/join", axes=(d, 2, d))
    yield from _layer(config, name, "prediction/block/", 0, corrected)


def _layer(config: DecoderConfig, name: str, ours: str, at: int, corrected: bool) -> Table:
    if config.latent:
        yield from _latent(config, config.latent, name + "self_attn.", ours + "attention/", at)
    else:
        yield from _grouped(config, name + "self_attn.", ours + "attention/", at)
    routed = config.experts is not None and ours != "dense/"
    block = "experts" if routed else "feed_forward"
    if routed:
        yield from _experts(config, name + "mlp.", ours + "experts/", at, corrected)
    else:
        yield from _feed_forward(name + "mlp.", ours + "feed_forward/", (at,), config.d_model, config.d_ff)
    norms = {"input_layernorm": "attention_norm"}
    if config.sandwich:  # what has the name of the other form's second norm is a block's last here
        norms |= {
            "post_attention_layernorm": "attention_post_norm",
            "pre_mlp_layernorm": f"{block}_norm",
            "post_mlp_layernorm": f"{block}_post_norm",
        }
    else:
        norms |= {"post_attention_layernorm": f"{block}_norm"}
    for theirs, own in norms.items():
        yield tensor(f"{name}{theirs}.weight", (config.d_model,), f"{ours}{own}/scale", (at,))


def _grouped(config: DecoderConfig, name: str, ours: str, at: int) -> Table:
    d, width = config.d_model, config.width
    for part, path, heads, where in (
        ("q", "query", config.heads, (at,)),
        ("k", "key_value", config.kv_heads, (at, ..., 0, slice(None))),
        ("v", "key_value", config.kv_heads, (at, ..., 1, slice(None))),
    ):
        joined, split = heads * width, (heads, width)
        yield tensor(f"{name}{part}_proj.weight", (joined, d), ours + path, where, (*split, d), HEADS_LAST)
        if config.biases:
            yield tensor(f"{name}{part}_proj.bias", (joined,), f"{ours}{path}_bias", where, split)
    joined = config.heads * width
    yield tensor(f"{name}o_proj.weight", (d, joined), ours + "out", (at,), (d, config.heads, width))
    if config.biases:
        yield tensor(f"{name}o_proj.bias", (d,), ours + "out_bias", (at,))


def _latent(config: DecoderConfig, widths: LatentWidths, name: str, ours: str, at: int) -> Table:
    d, heads = config.d_model, config.heads
    read, query = d, "q_proj"
    if widths.query_rank is not None:
        read, query = widths.query_rank, "q_b_proj"
        yield tensor(f"{name}q_a_proj.weight", (read, d), ours + "query_down", (at,), order="10")
        yield tensor(f"{name}q_a_layernorm.weight", (read,), ours + "query_norm/scale", (at,))

    def of_heads(theirs: str, width: int, inputs: int, path: str) -> ForeignTensor:
        shape, axes = (heads * width, inputs), (heads, width, inputs)
        return tensor(f"{name}{theirs}.weight", shape, ours + path, (at,), axes, HEADS_LAST)

    yield of_heads(query, widths.key, read, "query")
    joined = widths.rank + widths.rotary
    yield tensor(f"{name}kv_a_proj_with_mqa.weight", (joined, d), ours + "down", (at,), order="10")
    yield tensor(f"{name}kv_a_layernorm.weight", (widths.rank,), ours + "norm/scale", (at,))
    yield of_heads("kv_b_proj", widths.plain + widths.value, widths.rank, "key_value")
    out = (d, heads, widths.value)
    yield tensor(f"{name}o_proj.weight", (d, heads * widths.value), ours + "out", (at,), out)


def _experts(config: DecoderConfig, name: str, ours: str, at: int, corrected: bool) -> Table:
    own, d = config.experts, config.d_model
    assert own
    yield tensor(f"{name}gate.weight", (own.experts, d), ours + "router", (at,), order="10")
    if own.router == "grouped":
        yield tensor(f"{name}router_scale", (1, own.experts), ours + "router_scale", (at,))
    elif corrected:
        yield tensor(f"{name}gate.e_score_correction_bias", (own.experts,), ours + "router_bias", (at,))
    for expert in range(own.experts):
        yield from _feed_forward(f"{name}experts.{expert}.", ours, (at, expert), d, own.d_ff)
    if own.shared_d_ff:
        shared = "shared_expert." if own.router == "grouped" else "shared_experts."
        yield from _feed_forward(name + shared, ours + "shared/", (at,), d, own.shared_d_ff)


def _feed_forward(name: str, ours: str, at: tuple[int, ...], d: int, f: int) -> Table:
    for part in ("gate", "up"):
        yield tensor(f"{name}{part}_proj.weight", (f, d), ours + part, at, order="10")
    yield tensor(f"{name}down_proj.weight", (d, f), ours + "down", at)


def frequencies(theta: float, width: int) -> np.ndarray:
    """theta^(-2i / width), fp32 [width / 2], as the published code computes them."""
    exponents = np.arange(0, width, 2, dtype=np.int64).astype(np.float32) / np.float32(width)
    return (np.float32(1.0) / np.power(np.float32(theta), exponents)).astype(np.float32)
