"""Beam search on the device, in the rules of transformers' (release 5): same texts, token for token.

Finished texts stay on the device, `beams` per example. The running ones share their example's cache; when a
beam takes over another's past, only its row of what it sees is copied (`prefill.decode_step`).
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

from pangu_jax.apps.language.decoding import prefill, sampling
from pangu_jax.apps.language.decoding.prefill import Prefill
from pangu_jax.apps.language.decoding.queries import EMPTY
from pangu_jax.apps.language.decoding.restrictions import Choices, known, restrict
from pangu_jax.apps.language.decoding.settings import Beam
from pangu_jax.workloads.language.model.forward import Forward
from pangu_jax.workloads.language.model.incremental import Cache

OUT = -1e9  # a score that never wins


class Beams(NamedTuple):
    """Of each example M running and M finished texts; texts are int32 [.., T], 0 after an end."""

    step: jax.Array
    cache: Cache
    visible_BxMxC: jax.Array
    running_BxMxT: jax.Array
    running_score_BxM: jax.Array
    running_log_p_BxM: jax.Array
    choice_BxM: jax.Array
    finished_BxMxT: jax.Array
    finished_score_BxM: jax.Array
    finished_log_p_BxM: jax.Array
    is_finished_BxM: jax.Array
    improvable_B: jax.Array
    extendable: jax.Array
    non_finite_B: jax.Array


class Ranked(NamedTuple):
    """Of each example its M texts, best first.

    Attributes:
      text_BxMxT: int32, 0 after an end.
      rank_score_BxM: fp32, by which they are ranked.
      log_p_BxM: fp32, the model's log p of each.
      is_text_BxM: bool; where fewer than M could be written, the rest are none.
      non_finite_B: bool, whether logits were not numbers.
    """

    text_BxMxT: jax.Array
    rank_score_BxM: jax.Array
    log_p_BxM: jax.Array
    is_text_BxM: jax.Array
    non_finite_B: jax.Array


@partial(jax.jit, static_argnames=("forward", "max_new", "settings", "end", "ids"))
def search(
    forward: Forward,
    prefilled: Prefill,
    cache: Cache,
    history_BxG: jax.Array,
    is_padding_B: jax.Array,
    choices: Choices | None,
    max_tokens: jax.Array,
    *,
    max_new: int,
    settings: Beam,
    end: int,
    ids: int | None = None,
) -> Ranked:
    """The best texts of each example, `max_new` wide.

    Args:
      forward: the model's shape, its dtype and placement.
      prefilled: what is read.
      cache: its cache, with `max_new * beams` columns to write.
      history_BxG: int32, start token and prefix.
      is_padding_B: bool, rows that only fill the batch.
      choices: what may be written, or None.
      max_tokens: int32, at most `max_new`.
      max_new: columns of a text.
      settings: of the search.
      end: the token that finishes a text.
      ids: tokens that are written are below it; any row of the model is one when None.
    """
    batch, width = history_BxG.shape
    prefix_len, beams = width - 1, settings.beams
    restricts = not settings.repeats_freely or choices is not None
    texts_BxMxT = jnp.zeros((batch, beams, max_new), jnp.int32)
    first_BxM = jnp.broadcast_to(jnp.where(jnp.arange(beams) == 0, 0.0, OUT), (batch, beams))
    start = Beams(
        jnp.int32(0),
        cache,
        prefill.shown_at_first(prefilled, prefix_len, beams, prefix_len + max_new * beams),
        texts_BxMxT,
        first_BxM,
        first_BxM,
        jnp.zeros((batch, beams), jnp.int32),
        texts_BxMxT,
        jnp.full((batch, beams), OUT),
        jnp.full((batch, beams), OUT),
        jnp.zeros((batch, beams), bool),
        ~is_padding_B,
        jnp.bool_(True),
        jnp.zeros(batch, bool),
    )

    def body(state: Beams) -> Beams:
        step = state.step
        previous_BxMx1 = jax.lax.dynamic_slice_in_dim(state.running_BxMxT, jnp.maximum(step - 1, 0), 1, 2)
        token_BxM = jnp.where(step == 0, history_BxG[:, -1:], previous_BxMx1[:, :, 0])
        raw_VxR, cache, visible_BxMxC = prefill.decode_step(
            forward, prefilled, state.cache, token_BxM, step, prefix_len, state.visible_BxMxC
        )
        normaliser_R = sampling.log_normaliser(raw_VxR)
        best_BxN, token_BxN, parent_BxN = continuations(state, raw_VxR, normaliser_R)
        log_p_BxN = best_BxN  # and so it stays where nothing changes what the model says
        if restricts:
            own_BxN = log_p(raw_VxR - normaliser_R, token_BxN, parent_BxN)
            own_BxN += _take(state.running_log_p_BxM, parent_BxN)
            log_p_BxN = jnp.where(best_BxN > OUT / 2, own_BxN, OUT)
        text_BxNxT = _take(state.running_BxMxT, parent_BxN)
        text_BxNxT = jax.lax.dynamic_update_slice_in_dim(text_BxNxT, token_BxN[..., None], step, 2)
        ends_BxN = (token_BxN == end) | (step + 1 >= max_tokens)

        running_BxN = best_BxN + ends_BxN * OUT
        score_BxM, pick_BxM = jax.lax.top_k(running_BxN, beams)
        parent_BxM = _take(parent_BxN, pick_BxM)
        choice_BxM = _take(state.choice_BxM, parent_BxM)
        if choices is not None:
            picked_BxM = _take(token_BxN, pick_BxM)
            choice_BxM = choices.after(choice_BxM.reshape(-1), picked_BxM.reshape(-1)).reshape(
                choice_BxM.shape
            )

        # Only the best M can finish; the other M are there so that M texts continue.
        enters_BxN = ends_BxN & (jnp.arange(2 * beams) < beams)
        final_BxN = best_BxN / (step + 1).astype(jnp.float32) ** settings.length_penalty
        full_B = jnp.all(state.is_finished_BxM, axis=1) & (settings.early_stopping is True)
        barred_BxN = ~enters_BxN | (full_B | ~state.improvable_B)[:, None]
        scores = jnp.concatenate([state.finished_score_BxM, final_BxN + barred_BxN * OUT], axis=1)
        finished_score_BxM, keep_BxM = jax.lax.top_k(scores, beams)
        is_finished_BxM = _take(jnp.concatenate([state.is_finished_BxM, enters_BxN], axis=1), keep_BxM)
        finished_BxMxT = _take(jnp.concatenate([state.finished_BxMxT, text_BxNxT], axis=1), keep_BxM)
        finished_log_p_BxM = _take(jnp.concatenate([state.finished_log_p_BxM, log_p_BxN], axis=1), keep_BxM)

        longest = (
            max_tokens if settings.early_stopping == "never" and settings.length_penalty > 0 else step + 1
        )
        possible_B = score_BxM[:, 0] / longest.astype(jnp.float32) ** settings.length_penalty
        worst_B = jnp.min(jnp.where(is_finished_BxM, jnp.min(finished_score_BxM, 1, keepdims=True), OUT), 1)
        open_B = state.improvable_B & ~full_B
        after = Beams(
            step + 1,
            cache,
            _take(visible_BxMxC, parent_BxM),
            _take(text_BxNxT, pick_BxM),
            score_BxM,
            _take(log_p_BxN, pick_BxM),
            choice_BxM,
            finished_BxMxT,
            finished_score_BxM,
            finished_log_p_BxM,
            is_finished_BxM,
            state.improvable_B & (possible_B > worst_B),
            ~jnp.all(ends_BxN),
            state.non_finite_B
            | (open_B & ~jnp.all(jnp.isfinite(normaliser_R.reshape(batch, beams)), axis=1)),
        )
        return placed(after)

    def placed(beams: Beams) -> Beams:
        """Where each step leaves them, so that the next finds them there."""
        return prefill.by_rows(forward, beams._replace(cache=()))._replace(cache=beams.cache)

    def continuations(state: Beams, raw_VxR: jax.Array, normaliser_R: jax.Array) -> tuple[jax.Array, ...]:
        """Log p, token and beam of the 2M best continuations of each example, best first, each [B, 2M]."""
        logits_VxR = raw_VxR
        if restricts:
            logits_VxR = raw_VxR - normaliser_R
            histories = jnp.broadcast_to(history_BxG[:, None], (batch, beams, width)), state.running_BxMxT
            ahead_T = jnp.arange(max_new) >= state.step
            written = jnp.where(ahead_T, EMPTY, histories[1])
            history_RxW = jnp.concatenate([histories[0], written], axis=2).reshape(batch * beams, -1)
            logits_VxR = restrict(logits_VxR, history_RxW, settings)
            if choices is not None:
                logits_VxR = choices.allow(logits_VxR, state.choice_BxM.reshape(-1))
            normaliser_R = jnp.zeros_like(normaliser_R)
        value_RxN, index_RxN = sampling.largest(known(logits_VxR, ids), 2 * beams)
        value = (value_RxN - normaliser_R[:, None]).reshape(batch, beams, -1) + state.running_score_BxM[
            ..., None
        ]
        best_BxN, pick_BxN = jax.lax.top_k(value.reshape(batch, -1), 2 * beams)
        token_BxN = _take(index_RxN.reshape(batch, -1), pick_BxN).astype(jnp.int32)
        return jnp.maximum(best_BxN, 2 * OUT), token_BxN, pick_BxN // (2 * beams)

    def log_p(log_p_VxR: jax.Array, token_BxN: jax.Array, parent_BxN: jax.Array) -> jax.Array:
        """What the model gives each continuation's token, [B, 2M]."""
        row_BxN = jnp.arange(batch)[:, None] * beams + parent_BxN
        return log_p_VxR[token_BxN, row_BxN]

    def unfinished(state: Beams) -> jax.Array:
        improvable = jnp.any(state.improvable_B)
        if settings.early_stopping is True:
            improvable &= ~jnp.all(state.is_finished_BxM | is_padding_B[:, None])
        return (state.step < max_tokens) & improvable & state.extendable

    state = jax.lax.while_loop(unfinished, body, placed(start))
    is_text_BxM = state.is_finished_BxM & (state.finished_log_p_BxM > OUT / 2)
    return Ranked(
        state.finished_BxMxT,
        state.finished_score_BxM,
        state.finished_log_p_BxM,
        is_text_BxM,
        state.non_finite_B,
    )


def _take(x_BxNx: jax.Array, index_BxM: jax.Array) -> jax.Array:
    """Of each example its entries `index`, [B, M, ...]."""
    index = index_BxM.reshape(index_BxM.shape + (1,) * (x_BxNx.ndim - 2))
    return jnp.take_along_axis(x_BxNx, index, axis=1)
