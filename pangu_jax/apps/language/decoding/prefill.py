"""Prefill of a batch of queries: the encoder once, the prefixes in one pass, and then step by step.

A decoder alone reads no `inputs`: its queries are prefixes.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from pangu_jax.apps.language.decoding.queries import EMPTY
from pangu_jax.models.parameters import Tree
from pangu_jax.workloads.language.model import incremental
from pangu_jax.workloads.language.model.forward import Forward
from pangu_jax.workloads.language.model.incremental import Cache, EncoderMemory


class Prefill(NamedTuple):
    """What stays as it is while a batch of queries is answered.

    Attributes:
      weights: the decoder's, from `decoder_weights.prepare`.
      memory: the encoder's output as keys and values; None of a decoder alone.
      first_B: int32, column of each query's start token; what is before it is padding.
      bias_HxL: T5's bias by distance, or None.
    """

    weights: Tree
    memory: EncoderMemory | None
    first_B: jax.Array
    bias_HxL: jax.Array | None


def encoder_batch(inputs_BxS: jax.Array) -> dict[str, jax.Array]:
    """The encoder's features of inputs padded with 0 on the right.

    A 0 with more behind it is a token, unknown text in some vocabularies; none is the last one, for a
    vocabulary without mode tokens ends what an encoder reads in eos, and in ours no text has id 0.
    """
    return {
        "encoder_input_tokens": inputs_BxS,
        "encoder_segment_ids": (jnp.cumsum(inputs_BxS[:, ::-1], axis=1)[:, ::-1] != 0).astype(jnp.int32),
        "encoder_positions": jnp.broadcast_to(jnp.arange(inputs_BxS.shape[1]), inputs_BxS.shape),
    }


@partial(jax.jit, static_argnames=("forward", "new_columns"))
def read(
    forward: Forward,
    params: Tree,
    weights: Tree,
    inputs_BxS: jax.Array,
    history_BxW: jax.Array,
    new_columns: int,
) -> tuple[Prefill, Cache]:
    """What is known of a batch before its first token, and a cache with `new_columns` columns to write.

    All tokens of the histories but the last are in the cache's first columns.
    """
    return read_hidden(forward, params, weights, inputs_BxS, history_BxW, new_columns)[:2]


def read_hidden(
    forward: Forward,
    params: Tree,
    weights: Tree,
    inputs_BxS: jax.Array,
    history_BxW: jax.Array,
    new_columns: int,
) -> tuple[Prefill, Cache, jax.Array | None]:
    """As `read`, and the final hidden states [D, B * G] of the tokens in the cache, if there are any."""
    memory = None
    if "encoder" in forward.config.towers:
        batch = encoder_batch(inputs_BxS)
        seen_BxS = batch["encoder_segment_ids"]
        memory = incremental.encode_memory(forward, weights, forward.encode(params, batch), seen_BxS)
    prefix_len = history_BxW.shape[1] - 1
    prefilled = Prefill(
        weights,
        memory,
        jnp.sum(history_BxW == EMPTY, axis=1, dtype=jnp.int32),
        incremental.bias_by_distance(forward.config, weights, prefix_len + new_columns),
    )
    cache = incremental.empty_cache(forward, weights, inputs_BxS.shape[0], prefix_len + new_columns)
    if not prefix_len:
        return prefilled, cache, None
    column_C = jnp.arange(prefix_len + new_columns)
    query_Gx1 = column_C[:prefix_len, None]
    bias = None if prefilled.bias_HxL is None else _bias(prefilled.bias_HxL, query_Gx1, column_C)
    positions_BxG, visible_BxGxC = prefix_places(prefilled, prefix_len, prefix_len + new_columns)
    tokens_BxG = jnp.maximum(history_BxW[:, :-1], 0)
    hidden_DxR, cache = incremental.extend(
        forward, weights, memory, cache, tokens_BxG, positions_BxG, 0, visible_BxGxC, bias
    )
    return prefilled, cache, hidden_DxR


def prefix_places(prefilled: Prefill, prefix_len: int, columns: int) -> tuple[jax.Array, jax.Array]:
    """Positions [B, G] of the prefixes' tokens, and the columns [B, G, C] that each looks at."""
    column_C = jnp.arange(columns)
    query_G = column_C[:prefix_len]
    causal_GxC = column_C <= query_G[:, None]
    visible_BxGxC = causal_GxC & (column_C >= prefilled.first_B[:, None, None])
    return jnp.maximum(query_G - prefilled.first_B[:, None], 0), visible_BxGxC


def by_rows(forward: Forward, tree: Any) -> Any:
    """Arrays [B, ...] where the rows of a batch are, whole otherwise; scalars everywhere."""
    return jax.tree.map(
        lambda x: forward.placement.inside(x, ("batch",) + (None,) * (x.ndim - 1)) if x.ndim else x, tree
    )


def shown_at_first(prefilled: Prefill, prefix_len: int, beams: int, columns: int) -> jax.Array:
    """bool [B, beams, columns]: before the first step each beam sees the prefix, and nothing of its own."""
    column_C = jnp.arange(columns)
    visible_BxC = (column_C < prefix_len) & (column_C >= prefilled.first_B[:, None])
    return jnp.broadcast_to(visible_BxC[:, None], (prefilled.first_B.shape[0], beams, columns))


def decode_step(
    forward: Forward,
    prefilled: Prefill,
    cache: Cache,
    tokens_BxM: jax.Array,
    step: jax.Array,
    prefix_len: int,
    visible_BxMxC: jax.Array,
) -> tuple[jax.Array, Cache, jax.Array]:
    """fp32 logits [V, B * M] after step `step`'s tokens, the cache with them, and what each beam sees now.

    The M beams of an example share its cache: step t's tokens take M columns, and `visible` says whose are a
    beam's ancestors. A beam that changes its parent changes its row of `visible`; nothing else is moved.
    """
    beams, columns = visible_BxMxC.shape[1:]
    column_C = jnp.arange(columns)
    place_C = jnp.where(column_C < prefix_len, column_C, prefix_len + (column_C - prefix_len) // beams)
    first = prefix_len + step * beams
    visible_BxMxC |= column_C == first + jnp.arange(beams)[:, None]
    positions_BxM = jnp.broadcast_to((prefix_len + step - prefilled.first_B)[:, None], tokens_BxM.shape)
    bias = (
        None
        if prefilled.bias_HxL is None
        else _bias(prefilled.bias_HxL, (prefix_len + step)[None, None], place_C)
    )
    hidden_DxR, cache = incremental.extend(
        forward,
        prefilled.weights,
        prefilled.memory,
        cache,
        tokens_BxM,
        positions_BxM,
        first,
        visible_BxMxC,
        bias,
    )
    # Every row chooses among all words, so they are brought together.
    logits_VxR = forward.placement.inside(
        incremental.logits(forward, prefilled.weights, hidden_DxR), (None, "batch")
    )
    return logits_VxR, cache, visible_BxMxC


def _bias(bias_HxL: jax.Array, query_Mx1: jax.Array, key_C: jax.Array) -> jax.Array:
    """[H, M, C]; what is ahead of a query is masked, so any value does."""
    return bias_HxL[:, jnp.clip(query_Mx1 - key_C, 0, bias_HxL.shape[1] - 1)]
