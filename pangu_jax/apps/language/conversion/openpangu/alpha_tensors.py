"""Which tensors of PanGu-alpha are which arrays of our decoder: one table, for both directions.

Its queries, keys and values (dense1, dense2, dense3) are stored [out, in]; attention's projection and both of
the feed-forward block [in, out]. The projection is square: turned the wrong way it would fit as well.
"""

from collections.abc import Iterator

from pangu_jax.runs.exchange.parts import ForeignTensor, tensor
from pangu_jax.workloads.language.model.decoder import QUERY_LAYER, DecoderConfig

WORDS, POSITIONS, QUERIES = (
    f"backbone.{name}_embedding.embedding_table" for name in ("word", "position", "top_query")
)
BLOCK, TOP = "backbone.blocks.{}.", "backbone.top_query_layer."
MAPPING = "output.mapping.weight"  # [in, out]
HEADS_LAST = "201"  # their [heads, kv, in] as our [in, heads, kv]
Table = Iterator[ForeignTensor]


def table(config: DecoderConfig) -> list[ForeignTensor]:
    """Every tensor that an export of this shape has."""
    width = (config.d_model,)
    found = [
        tensor(WORDS, (config.vocab_size, *width), "embedding"),
        tensor(POSITIONS, (config.positions, *width), "positions/position"),
        tensor(QUERIES, (config.positions, *width), "queries/position"),
        *_norm("backbone.layernorm", config, "decoder_norm"),
    ]
    for block in range(config.tower_layers):
        found += _layer(config, BLOCK.format(block), "decoder/", block)
    return [*found, *_layer(config, TOP, f"{QUERY_LAYER}/", 0)]


def _layer(config: DecoderConfig, name: str, ours: str, at: int) -> Table:
    d, f, heads = config.d_model, config.d_ff, (config.heads, config.width)
    own, attention = name + "attention.", ours + "attention/"
    for dense, path, where in (
        ("dense1", "query", (at,)),
        ("dense2", "key_value", (at, ..., 0, slice(None))),
        ("dense3", "key_value", (at, ..., 1, slice(None))),
    ):
        yield tensor(f"{own}{dense}.weight", (d, d), attention + path, where, (*heads, d), HEADS_LAST)
        yield tensor(f"{own}{dense}.bias", (d,), f"{attention}{path}_bias", where, heads)
    yield tensor(f"{own}projection.weight", (d, d), attention + "out", (at,), (*heads, d), HEADS_LAST)
    yield tensor(f"{own}projection.bias", (d,), attention + "out_bias", (at,))
    feed = ours + "feed_forward/"
    yield tensor(name + MAPPING, (d, f), feed + "up", (at,))
    yield tensor(f"{name}output.mapping.bias", (f,), feed + "up_bias", (at,))
    yield tensor(f"{name}output.projection.weight", (f, d), feed + "down", (at,), order="10")
    yield tensor(f"{name}output.projection.bias", (d,), feed + "out_bias", (at,))
    yield from _norm(f"{name}layernorm1", config, f"{ours}attention_norm", (at,))
    yield from _norm(f"{name}layernorm2", config, f"{ours}feed_forward_norm", (at,))


def _norm(name: str, config: DecoderConfig, ours: str, at: tuple = (...,)) -> Table:
    for theirs, leaf in (("gamma", "scale"), ("beta", "bias")):
        yield tensor(f"{name}.{theirs}", (config.d_model,), f"{ours}/{leaf}", at)
