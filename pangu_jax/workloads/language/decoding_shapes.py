"""Language models that write, in numbers (`pangu_jax.workloads.shape.DecodingShape`)."""

from collections.abc import Iterable, Mapping
from typing import Any

import jax

from pangu_jax.models.experts import WEIGHTS
from pangu_jax.workloads.language.model import architecture, routed
from pangu_jax.workloads.language.model.architecture import Architecture
from pangu_jax.workloads.shape import DecodingShape, HeldArray

CACHED = ("batch", "kv_heads", None, "kv")  # keys or values of a layer
LATENTS = ("batch", None, None)  # which are whole for all heads
STACKED = ("layers", "blocks")


def decoding_shape(config: Architecture, texts: int, tokens: int) -> DecodingShape:
    """What a model holds and moves to write `texts` texts of `tokens` tokens, in the form of `prepare`.

    An encoder has read as many tokens of each.
    """
    shapes = jax.eval_shape(lambda: architecture.init(config, jax.random.key(0)))
    axes = architecture.axes(config)
    encoding = {name for name in shapes if name.startswith("encoder")}
    decoding = [name for name in shapes if name not in {*encoding, "embedding", "head"}]
    table = _arrays(config, {"embedding": shapes["embedding"]}, axes)
    head = _arrays(
        config, {"head": shapes["embedding" if config.tied_head else "head"]}, {"head": ("vocab", "embed")}
    )
    weights = [*table, *head]
    for name in decoding:
        weights += _arrays(config, {name: shapes[name]}, axes)
    beside = _arrays(config, {name: shapes[name] for name in sorted(encoding)}, axes)
    blocks = 3 if encoding else 2
    return DecodingShape(
        sum(leaf.size for leaf in jax.tree.leaves(shapes)),
        texts,
        tokens,
        tuple(weights),
        (*beside, *((*table, *([] if config.tied_head else head)) if encoding else ())),
        _cache(config, texts, tokens),
        config.d_model,
        config.vocab_size,
        config.heads,
        config.decoder_layers * blocks,
        config.decoder_layers - config.dense_layers if config.experts else 0,
    )


def _arrays(config: Architecture, shapes: Mapping, axes: Mapping) -> list[HeldArray]:
    """Each array, of stacked ones each layer's."""
    found = []
    for path, shape in jax.tree_util.tree_leaves_with_path(shapes):
        names = [entry.key for entry in path]
        logical: Any = axes
        for name in names:
            logical = logical[name]
        layers = shape.shape[0] if logical[0] in STACKED else 1
        logical = logical[1:] if logical[0] in STACKED else logical
        found += [_array(config, names, shape.size // layers, logical)] * layers
    return found


def _array(config: Architecture, names: Iterable[str], numbers: int, logical: tuple) -> HeldArray:
    *_, block, name = ("", *names)
    matrix = "embed" in logical
    if config.experts and block == routed.KEY and name in WEIGHTS:
        chosen = config.experts.active / config.experts.experts
        return HeldArray(numbers, logical, chosen=chosen)
    looked_up = {"embedding", "position"}
    return HeldArray(numbers, logical, None if matrix else 4, read=0.0 if name in looked_up else 1.0)


def _cache(config: Architecture, texts: int, tokens: int) -> tuple[HeldArray, ...]:
    layers = config.decoder_layers
    if config.latent:
        return (HeldArray(texts * tokens * config.latent.cached, LATENTS),) * layers
    each = HeldArray(texts * config.kv_heads * tokens * config.width, CACHED)
    kinds = 4 if config.encoder_layers else 2  # keys and values, and those of the encoder's output
    return (each,) * (kinds * layers)
