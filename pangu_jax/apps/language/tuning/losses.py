"""What is minimised over scores of candidates, as sums over examples: splitting a batch changes nothing."""

import jax
import jax.numpy as jnp

from pangu_jax.apps.language.decoding.trie_forward import Batch, Scores, TokenScores
from pangu_jax.apps.language.tuning.settings import Objective, Regularisation
from pangu_jax.workloads import Sums

NOTHING = Regularisation()


def sums(found: Scores, batch: Batch, objective: Objective, regularisation: Regularisation = NOTHING) -> Sums:
    """The loss of a batch and its weight: examples, or for "answer" the answers' tokens; and how many are
    right.

    With R-Drop every example is there twice, one after the other.
    """
    counted_B = batch["counted"]
    losses = counted_B[:, None] * _losses(found, batch, objective, regularisation.label_smoothing)
    loss, count = jnp.sum(losses), jnp.sum(counted_B)
    weight = count
    if _of_answers(found, objective):
        weight = jnp.sum(_answers(batch) * counted_B[:, None])
    right = jnp.sum(counted_B * (jnp.argmax(chosen_by(found, objective), axis=1) == batch["answer"]))
    if regularisation.r_drop:
        loss, weight, right, count = (value / 2 for value in (loss, weight, right, count))
        loss += regularisation.r_drop * _divergence(found, batch, objective)
    return Sums(loss, weight, {"accuracy": (right, count)} if batch["choices"].shape[1] > 1 else {})


def of_examples(found: Scores, batch: Batch, objective: Objective) -> jax.Array:
    """The loss of each example, fp32 [B], over all tokens of its answer."""
    return jnp.sum(_losses(found, batch, objective, 0.0), axis=1)


def chosen_by(found: Scores, objective: Objective) -> jax.Array:
    """The score [B, C] whose largest is the choice."""
    return found.candidate_BxC / found.length_BxC if objective.normalised else found.candidate_BxC


def _of_answers(found: Scores, objective: Objective) -> TokenScores | None:
    """The tokens whose loss is taken; None where it is that of the choice."""
    return found.tokens if objective.kind == "answer" else None


def _losses(found: Scores, batch: Batch, objective: Objective, smoothing: float) -> jax.Array:
    """[B, 1] per choice, or [B, P] per token of an answer, 0 for other tokens."""
    if tokens := _of_answers(found, objective):
        tokens_BxP = (1 - smoothing) * tokens.token_BxP + smoothing * tokens.smooth_BxP
        return -tokens_BxP * _answers(batch)
    log_p_BxC = jax.nn.log_softmax(chosen_by(found, objective))
    right_Bx1 = jnp.take_along_axis(log_p_BxC, batch["answer"][:, None], axis=1)
    choices_BxC = batch["choices"]
    all_Bx1 = jnp.sum(jnp.where(choices_BxC, log_p_BxC, 0.0), axis=1, keepdims=True)
    all_Bx1 /= jnp.sum(choices_BxC, axis=1, keepdims=True)
    return -((1 - smoothing) * right_Bx1 + smoothing * all_Bx1)


def _answers(batch: Batch) -> jax.Array:
    """True for the tokens of the right candidate, [B, P]."""
    return batch["candidate"] == batch["answer"][:, None]


def _divergence(found: Scores, batch: Batch, objective: Objective) -> jax.Array:
    """Sum of (KL(p|q) + KL(q|p)) / 4 between rows 0, 2, ... and rows 1, 3, ...: the same examples, dropped
    differently."""
    weights = batch["counted"][::2]
    if tokens := _of_answers(found, objective):
        log_p = tokens.log_p_BxRxV
        p = jnp.exp(log_p)
        at_BxPxR = jax.nn.one_hot(batch["at"], log_p.shape[1]) * _answers(batch)[..., None]
        weights = weights[:, None] * jnp.sum(at_BxPxR, axis=1)[::2]
    else:
        log_p = jax.nn.log_softmax(chosen_by(found, objective))
        log_p = jnp.where(batch["choices"], log_p, 0.0)  # absent candidates agree
        p = jnp.where(batch["choices"], jnp.exp(log_p), 0.0)
    both = jnp.sum((p[::2] - p[1::2]) * (log_p[::2] - log_p[1::2]), axis=-1)
    return jnp.sum(both * weights) / 4
