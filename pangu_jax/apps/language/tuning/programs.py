"""The compiled programs of a fit: a step, and scores of a batch. Fits with equal settings share them."""

import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from pangu_jax.apps.language.tuning import reading
from pangu_jax.apps.language.tuning.freezing import Extent, Freezing, FrozenState, Known, wrap
from pangu_jax.apps.language.tuning.methods import Method
from pangu_jax.apps.language.tuning.reading import Batch, Scores, TrieForward
from pangu_jax.apps.language.tuning.settings import Descent, Objective, Regularisation
from pangu_jax.models.parameters import Tree
from pangu_jax.workloads import Run
from pangu_jax.workloads.language.model.encoder_decoder import EncoderDecoderConfig


class Recipe(NamedTuple):
    """All that a program depends on, the shapes of arrays apart."""

    config: EncoderDecoderConfig
    method: Method
    freezing: Freezing
    regularisation: Regularisation
    objective: Objective
    descent: Descent
    steps: int
    run: Run

    @property
    def extent(self) -> Extent:
        """A classifier on the encoder leaves the decoder out."""
        decoder = 0 if self.method.pool == "encoder" else self.config.decoder_layers
        return Extent(self.config.encoder_layers, decoder, self.steps)

    def optimizer(self, key: jax.Array, chosen: Tree | None) -> optax.GradientTransformation:
        """Around the trainable tree only."""
        inner = self.descent.optimizer(self.steps)
        return wrap(inner.transformation, inner.schedule, self.freezing, self.extent, key, chosen)


class Programs(NamedTuple):
    """Jitted functions.

    Attributes:
      step: (trainable, optimizer state, frozen, batch, key, lowest) -> (trainable, state, loss); gives up its
        first two arguments.
      squared_gradients: (trainable, frozen, batch) -> tree of squared gradients.
    """

    step: Any
    squared_gradients: Any


@functools.lru_cache(maxsize=32)
def programs(recipe: Recipe) -> Programs:
    """The programs of a recipe; the same ones for an equal recipe."""
    method, objective, regularisation = recipe.method, recipe.objective, recipe.regularisation
    still = trie_forward(recipe.config, recipe.run)
    training = trie_forward(_with_dropout(recipe.config, regularisation.dropout), recipe.run)

    def loss(trainable, frozen, batch, key, state: FrozenState, lowest: int):
        known = Known(recipe.extent, state.key, state.start, state.chosen)
        trainable = recipe.freezing.perturbed(trainable, state.step, known)
        params = recipe.freezing.thinned(method.merge(recipe.config, trainable, frozen), state.step, known)
        if regularisation.r_drop:
            batch = jax.tree.map(lambda x: jnp.concatenate([x, x]), batch)
        keys_B = jax.random.split(key, len(batch["answer"])) if regularisation.dropout else None
        found = reading.scores(training, params, batch, method.pool, keys_B, lowest)
        total = _mean_loss(found, batch, objective, regularisation.label_smoothing)
        if regularisation.r_drop:
            total += regularisation.r_drop * _divergence(found, batch, objective)
        return total

    @functools.partial(jax.jit, static_argnames="lowest", donate_argnums=(0, 1))
    def step(trainable, state, frozen, batch, key, lowest):
        value, gradients = jax.value_and_grad(loss)(trainable, frozen, batch, key, state, lowest)
        # The transformation reads its key and choice from the state.
        updates, state = recipe.optimizer(state.key, state.chosen).update(gradients, state, trainable)
        return optax.apply_updates(trainable, updates), state, value

    @jax.jit
    def squared_gradients(trainable, frozen, batch):
        def plain(trainable):
            found = reading.scores(still, method.merge(recipe.config, trainable, frozen), batch, method.pool)
            return _mean_loss(found, batch, objective, 0.0)

        return jax.tree.map(jnp.square, jax.grad(plain)(trainable))

    return Programs(step, squared_gradients)


@functools.lru_cache(maxsize=32)
def scorer(config: EncoderDecoderConfig, pool: reading.Pool | None, objective: Objective, run: Run) -> Any:
    """Jitted (complete params, batch) -> (score BxC by which candidates are chosen, loss B).

    Whatever learnt, its complete parameters are scored alike: one program serves all methods, tuned or not.
    """
    forward = trie_forward(config, run)

    @jax.jit
    def scores(params, batch):
        found = reading.scores(forward, params, batch, pool)
        return chosen_by(found, objective), jnp.sum(_losses(found, batch, objective, 0.0), axis=1)

    return scores


def trie_forward(config: EncoderDecoderConfig, run: Run) -> TrieForward:
    """The forward pass over rows of `examples`, where and in the dtype that a run has it."""
    return TrieForward(config, run.placement, dtype=run.dtype)


def chosen_by(found: Scores, objective: Objective) -> jax.Array:
    """The score [B, C] whose largest is the choice."""
    return found.candidate_BxC / found.length_BxC if objective.normalised else found.candidate_BxC


def _mean_loss(found: Scores, batch: Batch, objective: Objective, smoothing: float) -> jax.Array:
    """Mean over examples, or for "answer" over the answers' tokens."""
    losses = _losses(found, batch, objective, smoothing)
    if found.token_BxP is None or objective.kind == "choice":
        return jnp.mean(losses)
    return jnp.sum(losses) / jnp.sum(_answers(batch))


def _losses(found: Scores, batch: Batch, objective: Objective, smoothing: float) -> jax.Array:
    """[B, 1] a choice, or [B, P] a token of an answer, 0 for other tokens."""
    if found.token_BxP is None or objective.kind == "choice":
        log_p_BxC = jax.nn.log_softmax(chosen_by(found, objective))
        right_Bx1 = jnp.take_along_axis(log_p_BxC, batch["answer"][:, None], axis=1)
        choices_BxC = batch["choices"]
        all_Bx1 = jnp.sum(jnp.where(choices_BxC, log_p_BxC, 0.0), axis=1, keepdims=True)
        all_Bx1 /= jnp.sum(choices_BxC, axis=1, keepdims=True)
        return -((1 - smoothing) * right_Bx1 + smoothing * all_Bx1)
    tokens_BxP = (1 - smoothing) * found.token_BxP + smoothing * found.smooth_BxP
    return -tokens_BxP * _answers(batch)


def _answers(batch: Batch) -> jax.Array:
    """True for the tokens of the right candidate, [B, P]."""
    return batch["candidate"] == batch["answer"][:, None]


def _divergence(found: Scores, batch: Batch, objective: Objective) -> jax.Array:
    """(KL(p|q) + KL(q|p)) / 4 between a batch's first half and its second, the same examples dropped anew."""
    if found.token_BxP is None or objective.kind == "choice":
        log_p, weights = jax.nn.log_softmax(chosen_by(found, objective)), 1.0
        log_p = jnp.where(batch["choices"], log_p, 0.0)  # absent candidates agree
        p = jnp.where(batch["choices"], jnp.exp(log_p), 0.0)
    else:
        log_p = found.log_p_BxRxV
        at_BxPxR = jax.nn.one_hot(batch["at"], log_p.shape[1]) * _answers(batch)[..., None]
        weights = jnp.split(jnp.sum(at_BxPxR, axis=1), 2)[0]
        p = jnp.exp(log_p)
    (p, q), (log_p, log_q) = jnp.split(p, 2), jnp.split(log_p, 2)
    both = jnp.sum((p - q) * (log_p - log_q), axis=-1) * weights
    count = both.size if isinstance(weights, float) else jnp.sum(weights)
    return jnp.sum(both) / count / 4


def _with_dropout(config: EncoderDecoderConfig, rate: float) -> EncoderDecoderConfig:

    return dataclasses.replace(config, dropout=rate)
