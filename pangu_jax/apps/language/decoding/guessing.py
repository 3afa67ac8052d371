"""Greedy search in fewer steps: a model's own module guesses a token, and the next step checks it.

Self-speculative decoding (Leviathan et al., arXiv 2211.17192; DeepSeek-V3, arXiv 2412.19437, 5.4.3): a step
reads the last token and a guess of the next. Where the guess is what the model itself finds likeliest, the
step has written two tokens, and where it is not, one: the text is that of greedy search. A step takes two
columns of the cache, and that of a wrong guess is never shown again, so nothing is rolled back.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

from pangu_jax.apps.language.decoding import prefill, sampling
from pangu_jax.apps.language.decoding.prefill import Prefill
from pangu_jax.apps.language.decoding.queries import EMPTY
from pangu_jax.apps.language.decoding.restrictions import known
from pangu_jax.apps.language.decoding.settings import Greedy, Settings
from pangu_jax.models.parameters import Tree
from pangu_jax.workloads.language.model import incremental, incremental_prediction
from pangu_jax.workloads.language.model.forward import Forward
from pangu_jax.workloads.language.model.incremental import Cache

COLUMNS = 2  # of the cache, that a step takes


class OpenedGuesses(NamedTuple):
    """What is there before the first step.

    Attributes:
      cache: the decoder's.
      module: the cache of the module that guesses.
      guess_B: int32, for the next token of each row.
    """

    cache: Cache
    module: Cache
    guess_B: jax.Array


class Guessed(NamedTuple):
    """A batch of texts on the way.

    Attributes:
      calls: int32, steps of the model so far.
      written_B: int32, tokens written on each row.
      history_BxW: int32, start token, prefix and what is written; EMPTY elsewhere, 0 after an end.
      cache: the decoder's.
      module: the cache of the module that guesses.
      guess_B: int32, for the next token of each row.
      visible_BxC: bool, the columns that hold a row's text.
      finished_B: bool.
      score_B: fp32, sum of log p.
      non_finite_B: bool, whether logits were not numbers.
    """

    calls: jax.Array
    written_B: jax.Array
    history_BxW: jax.Array
    cache: Cache
    module: Cache
    guess_B: jax.Array
    visible_BxC: jax.Array
    finished_B: jax.Array
    score_B: jax.Array
    non_finite_B: jax.Array

    @property
    def step(self) -> jax.Array:
        """int32, tokens written on the row that has most."""
        return jnp.max(self.written_B)


def serves(weights: Tree, settings: Settings) -> bool:
    """Whether a text by these settings may be guessed: nothing but the logits says what is likeliest."""
    return (
        isinstance(settings, Greedy)
        and settings.guess
        and settings.repeats_freely
        and "prediction" in weights
    )


@partial(jax.jit, static_argnames=("forward", "new_columns"))
def read(
    forward: Forward,
    params: Tree,
    weights: Tree,
    inputs_BxS: jax.Array,
    history_BxW: jax.Array,
    new_columns: int,
) -> tuple[Prefill, OpenedGuesses]:
    """As `prefill.read`, for both caches; with a guess for the first token of each row."""
    prefilled, cache, hidden_DxR = prefill.read_hidden(
        forward, params, weights, inputs_BxS, history_BxW, new_columns
    )
    batch, prefix_len = history_BxW.shape[0], history_BxW.shape[1] - 1
    columns = prefix_len + new_columns
    module_cache = incremental_prediction.empty_cache(forward, weights, batch, columns)
    if hidden_DxR is None:
        return prefilled, OpenedGuesses(cache, module_cache, jnp.zeros(batch, jnp.int32))
    positions_BxG, visible_BxGxC = prefill.prefix_places(prefilled, prefix_len, columns)
    next_BxG = jnp.maximum(history_BxW[:, 1:], 0)
    further_DxR, module_cache = incremental_prediction.extend(
        forward, weights, module_cache, hidden_DxR, next_BxG, positions_BxG, 0, visible_BxGxC
    )
    last_DxB = further_DxR.reshape(-1, batch, prefix_len)[:, :, -1]
    return prefilled, OpenedGuesses(cache, module_cache, _likeliest(_logits(forward, weights, last_DxB)))


@partial(jax.jit, static_argnames=("forward", "max_new"), donate_argnames=("opened",))
def begin(
    forward: Forward,
    prefilled: Prefill,
    opened: OpenedGuesses,
    history_BxG: jax.Array,
    max_new: int,
    finished_B: jax.Array,
) -> Guessed:
    """Nothing written yet; rows that only fill the batch are `finished`."""
    batch, width = history_BxG.shape
    columns = width - 1 + COLUMNS * max_new
    texts = Guessed(
        calls=jnp.int32(0),
        written_B=jnp.zeros(batch, jnp.int32),
        history_BxW=jnp.pad(history_BxG, ((0, 0), (0, max_new)), constant_values=EMPTY),
        **opened._asdict(),
        visible_BxC=prefill.shown_at_first(prefilled, width - 1, 1, columns)[:, 0],
        finished_B=finished_B,
        score_B=jnp.zeros(batch),
        non_finite_B=jnp.zeros(batch, bool),
    )
    return _placed(forward, texts)


def _placed(forward: Forward, texts: Guessed) -> Guessed:
    """Where each step leaves them, so that the next finds them there."""
    placed = prefill.by_rows(forward, texts._replace(cache=(), module=()))
    return placed._replace(cache=texts.cache, module=texts.module)


@partial(jax.jit, static_argnames=("forward", "prefix_len", "end", "ids"), donate_argnames=("texts",))
def advance(
    forward: Forward,
    prefilled: Prefill,
    texts: Guessed,
    until: jax.Array,
    *,
    prefix_len: int,
    end: int,
    ids: int | None = None,
) -> Guessed:
    """Writes until every text is finished or `until` tokens long.

    Args:
      forward: the model's shape, its dtype and placement.
      prefilled: what is read.
      texts: what is written; its memory is used again.
      until: int32.
      prefix_len: tokens of the prefix part of the history, without the one that the first step reads.
      end: the token that finishes a text.
      ids: tokens that are written are below it; any row of the model is one when None.
    """
    weights, columns = prefilled.weights, texts.visible_BxC.shape[1]
    rows_B = jnp.arange(texts.written_B.shape[0])
    width = texts.history_BxW.shape[1]

    def body(texts: Guessed) -> Guessed:
        running_B = ~texts.finished_B & (texts.written_B < until)
        at_B = prefix_len + texts.written_B
        tokens_Bx2 = jnp.stack([texts.history_BxW[rows_B, at_B], texts.guess_B], axis=1)
        positions_Bx2 = (at_B - prefilled.first_B)[:, None] + jnp.arange(2)
        first = prefix_len + COLUMNS * texts.calls
        own_2xC = jnp.arange(columns) == first + jnp.arange(2)[:, None]
        visible_Bx2xC = texts.visible_BxC[:, None] | own_2xC | own_2xC[:1]
        places = positions_Bx2, first, visible_Bx2xC
        hidden_DxR, cache = incremental.extend(
            forward, weights, None, texts.cache, tokens_Bx2, *places, bias=None
        )
        logits_VxR = _logits(forward, weights, hidden_DxR)
        known_VxR = known(logits_VxR, ids)
        found_Bx2 = _likeliest(known_VxR).reshape(-1, 2)
        normaliser_Bx2 = sampling.log_normaliser(logits_VxR).reshape(-1, 2)
        log_p_Bx2 = jnp.max(known_VxR, axis=0).reshape(-1, 2) - normaliser_Bx2

        right_B = running_B & (found_Bx2[:, 0] == texts.guess_B) & (found_Bx2[:, 0] != end)
        right_B &= texts.written_B + 1 < until
        writes_Bx2 = jnp.stack([running_B, right_B], axis=1)
        # What is not written falls outside, where it is dropped.
        places_Bx2 = jnp.where(writes_Bx2, at_B[:, None] + jnp.arange(1, 3), width)
        history_BxW = texts.history_BxW.at[rows_B[:, None], places_Bx2].set(found_Bx2, mode="drop")

        further_DxR, module_cache = incremental_prediction.extend(
            forward, weights, texts.module, hidden_DxR, found_Bx2, *places
        )
        last_DxB = jnp.where(right_B, further_DxR[:, 1::2], further_DxR[:, ::2])
        guess_B = _likeliest(known(_logits(forward, weights, last_DxB), ids))
        after = Guessed(
            texts.calls + 1,
            texts.written_B + jnp.sum(writes_Bx2, axis=1),
            history_BxW,
            cache,
            module_cache,
            jnp.where(running_B, guess_B, texts.guess_B),
            texts.visible_BxC | jnp.any(own_2xC & writes_Bx2[:, :, None], axis=1),
            texts.finished_B | jnp.any(writes_Bx2 & (found_Bx2 == end), axis=1),
            texts.score_B + jnp.sum(jnp.where(writes_Bx2, log_p_Bx2, 0.0), axis=1),
            texts.non_finite_B | jnp.any(writes_Bx2 & ~jnp.isfinite(normaliser_Bx2), axis=1),
        )
        return _placed(forward, after)

    def unfinished(texts: Guessed) -> jax.Array:
        return jnp.any(~texts.finished_B & (texts.written_B < until))

    return jax.lax.while_loop(unfinished, body, texts)


def _logits(forward: Forward, weights: Tree, hidden_DxR: jax.Array) -> jax.Array:
    """Every row chooses among all words, so they are brought together."""
    return forward.placement.inside(incremental.logits(forward, weights, hidden_DxR), (None, "batch"))


def _likeliest(logits_VxR: jax.Array) -> jax.Array:
    """int32 [R]: of equals the one that `stepping` takes."""
    return sampling.largest(logits_VxR, 1)[1][:, 0].astype(jnp.int32)
