"""The module that predicts one token further, a few tokens at a time: its cache is one layer's more."""

import jax

from pangu_jax.models.normalization import rms_norm
from pangu_jax.models.parameters import Tree
from pangu_jax.workloads.language.model import incremental, prediction
from pangu_jax.workloads.language.model.forward import Forward
from pangu_jax.workloads.language.model.incremental import Cache


def empty_cache(forward: Forward, weights: Tree, batch: int, columns: int) -> Cache:
    """Its cache of zeros: it has a column for every column of the decoder's."""
    return incremental.empty_cache(forward, {"layers": (weights["prediction"]["layer"],)}, batch, columns)


def extend(
    forward: Forward,
    weights: Tree,
    cache: Cache,
    hidden_DxR: jax.Array,
    next_BxM: jax.Array,
    positions_BxM: jax.Array,
    column: jax.Array | int,
    visible_BxMxC: jax.Array,
) -> tuple[jax.Array, Cache]:
    """What the module makes of M tokens of each example; the arguments are those of `incremental.extend`.

    Args:
      forward: the model's shape, its dtype and placement.
      weights: from `decoder_weights.prepare`.
      cache: from `empty_cache` or an earlier call.
      hidden_DxR: the decoder's final hidden states of the tokens, from `incremental.extend`.
      next_BxM: int32, the token after each.
      positions_BxM: of the tokens.
      column: the first of their columns.
      visible_BxMxC: which columns each looks at.

    Returns:
      hidden states scaled for the head, [D, B * M], of which the token after the next is the likeliest.
    """
    own, epsilon = weights["prediction"], forward.config.epsilon
    embedded_DxR = incremental.embed(forward, weights, next_BxM)
    joined_1xRxD = prediction.join(own, embedded_DxR.T[None], hidden_DxR.T[None], epsilon, forward.placement)
    x_DxR, cache = incremental.through_layers(
        forward, (own["layer"],), None, cache, joined_1xRxD[0].T, positions_BxM, column, visible_BxMxC, None
    )
    return rms_norm(x_DxR.T, own["norm"], epsilon).T, cache
