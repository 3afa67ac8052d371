"""Vectors of tokens: rows of the table, and below its words a soft prompt's."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from pangu_jax.models.placement import Placement

TABLE = {"table": ("vocab", "embed")}


def look_up(
    table_VxD: jax.Array, streams: Sequence[jax.Array], words: int, placement: Placement
) -> tuple[jax.Array, ...]:
    """The residual stream [B, T, D] of each stream's tokens.

    Args:
      table_VxD: as it is stored: `words` rows, and below them those of a soft prompt, where there is one.
      streams: int32 [B, T] rows each.
      words: rows of the vocabulary.
      placement: where the vocabulary's parts live.
    """
    prompted = table_VxD.shape[0] > words
    words_VxD = table_VxD[:words] if prompted else table_VxD
    words_VxD = placement.weights({"table": words_VxD}, TABLE)["table"]

    def vectors(tokens_BxT: jax.Array) -> jax.Array:
        if not prompted:
            return placement.lookup(words_VxD, tokens_BxT)
        # Below the words a soft prompt's vectors, too few to be split: who has the first word adds them.
        found_BxTxD = placement.lookup(words_VxD, jnp.minimum(tokens_BxT, words - 1))
        vectors_BxTxD = table_VxD[words:][jnp.maximum(tokens_BxT - words, 0)]
        vectors_BxTxD *= placement.vocabulary_start(words_VxD.shape[0]) == 0
        return jnp.where(tokens_BxT[..., None] < words, found_BxTxD, vectors_BxTxD)

    return tuple(placement.leave(vectors(tokens_BxT)) for tokens_BxT in streams)
