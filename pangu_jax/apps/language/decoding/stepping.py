"""One text per query: greedy search and sampling, a loop on the device that can be left and entered again."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

from pangu_jax.apps.language.decoding import prefill, sampling
from pangu_jax.apps.language.decoding.prefill import Prefill
from pangu_jax.apps.language.decoding.queries import EMPTY
from pangu_jax.apps.language.decoding.restrictions import Choices, known, restrict
from pangu_jax.apps.language.decoding.settings import Greedy, Sampling
from pangu_jax.workloads.language.model.forward import Forward
from pangu_jax.workloads.language.model.incremental import Cache


class Texts(NamedTuple):
    """A batch of texts on the way.

    Attributes:
      step: int32, tokens written.
      history_BxW: int32, start token, prefix and what is written; EMPTY elsewhere, 0 after an end.
      cache: the decoder's.
      visible_BxMxC: bool, the cache's columns that a text sees; M is 1.
      choice_B: int32, state in the choices.
      finished_B: bool.
      score_B: fp32, sum of log p.
      non_finite_B: bool, whether logits were not numbers.
    """

    step: jax.Array
    history_BxW: jax.Array
    cache: Cache
    visible_BxMxC: jax.Array
    choice_B: jax.Array
    finished_B: jax.Array
    score_B: jax.Array
    non_finite_B: jax.Array


@partial(jax.jit, static_argnames=("forward", "max_new"), donate_argnames=("cache",))
def begin(
    forward: Forward,
    prefilled: Prefill,
    cache: Cache,
    history_BxG: jax.Array,
    max_new: int,
    finished_B: jax.Array,
) -> Texts:
    """Nothing written yet; rows that only fill the batch are `finished`."""
    batch, width = history_BxG.shape
    texts = Texts(
        step=jnp.int32(0),
        history_BxW=jnp.pad(history_BxG, ((0, 0), (0, max_new)), constant_values=EMPTY),
        cache=cache,
        visible_BxMxC=prefill.shown_at_first(prefilled, width - 1, 1, width - 1 + max_new),
        choice_B=jnp.zeros(batch, jnp.int32),
        finished_B=finished_B,
        score_B=jnp.zeros(batch),
        non_finite_B=jnp.zeros(batch, bool),
    )
    return _placed(forward, texts)


def _placed(forward: Forward, texts: Texts) -> Texts:
    """Where each step leaves them, so that the next finds them there."""
    return prefill.by_rows(forward, texts._replace(cache=()))._replace(cache=texts.cache)


@partial(
    jax.jit,
    static_argnames=("forward", "prefix_len", "settings", "end", "ids"),
    donate_argnames=("texts",),
)
def advance(
    forward: Forward,
    prefilled: Prefill,
    texts: Texts,
    keys_B: jax.Array,
    choices: Choices | None,
    until: jax.Array,
    *,
    prefix_len: int,
    settings: Greedy | Sampling,
    end: int,
    ids: int | None = None,
) -> Texts:
    """Writes until every text is finished or `until` tokens long.

    Args:
      forward: the model's shape, its dtype and placement.
      prefilled: what is read.
      texts: what is written; its memory is used again.
      keys_B: a PRNG key per text.
      choices: what may be written, or None.
      until: int32.
      prefix_len: tokens of the prefix part of the history, without the one that step 0 reads.
      settings: how a token is chosen.
      end: the token that finishes a text.
      ids: tokens that are written are below it; any row of the model is one when None.
    """

    def body(texts: Texts) -> Texts:
        step = texts.step
        token_Bx1 = jax.lax.dynamic_slice_in_dim(texts.history_BxW, prefix_len + step, 1, axis=1)
        raw_VxB, cache, visible_BxMxC = prefill.decode_step(
            forward, prefilled, texts.cache, token_Bx1, step, prefix_len, texts.visible_BxMxC
        )
        logits_VxB = known(restrict(raw_VxB, texts.history_BxW, settings), ids)
        if choices is not None:
            logits_VxB = choices.allow(logits_VxB, texts.choice_B)
        if isinstance(settings, Sampling):
            step_keys_B = jax.vmap(jax.random.fold_in, (0, None))(keys_B, step)
            token_B = sampling.draw(logits_VxB, step_keys_B, settings)
        else:
            token_B = sampling.largest(logits_VxB, 1)[1][:, 0].astype(jnp.int32)
        normaliser_B = sampling.log_normaliser(raw_VxB)
        log_p_B = raw_VxB[token_B, jnp.arange(token_B.shape[0])] - normaliser_B
        running_B = ~texts.finished_B
        token_B = jnp.where(running_B, token_B, 0)
        history_BxW = jax.lax.dynamic_update_slice_in_dim(
            texts.history_BxW, token_B[:, None], prefix_len + step + 1, axis=1
        )
        after = Texts(
            step + 1,
            history_BxW,
            cache,
            visible_BxMxC,
            texts.choice_B if choices is None else choices.after(texts.choice_B, token_B),
            texts.finished_B | (token_B == end),
            texts.score_B + jnp.where(running_B, log_p_B, 0.0),
            texts.non_finite_B | (running_B & ~jnp.isfinite(normaliser_B)),
        )
        return _placed(forward, after)

    def unfinished(texts: Texts) -> jax.Array:
        return (texts.step < until) & ~jnp.all(texts.finished_B)

    return jax.lax.while_loop(unfinished, body, texts)
