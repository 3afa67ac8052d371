"""What a model chooses, tuned or not: scores of labelled examples, their accuracy and their loss."""

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import jax
import numpy as np

from pangu_jax.apps.language.decoding import queries, trie_forward
from pangu_jax.apps.language.decoding.trie_forward import Batch, Pool, TrieForward
from pangu_jax.apps.language.tuning import examples, losses
from pangu_jax.apps.language.tuning.examples import Labelled, Rows, RowShape
from pangu_jax.apps.language.tuning.methods import asked_by
from pangu_jax.apps.language.tuning.settings import Objective, Tuning
from pangu_jax.apps.language.tuning.sources import HeldOutSource
from pangu_jax.models.parameters import Tree
from pangu_jax.models.placement import OneDevice
from pangu_jax.workloads import RunContext
from pangu_jax.workloads.language.model.architecture import Architecture

BATCH = 32
ONE_DEVICE = RunContext(OneDevice())


class Measured(NamedTuple):
    """What a model makes of N examples of C candidates each.

    Attributes:
      scores: fp32 [N, C], by whose largest one chooses; -inf where there is no candidate.
      accuracy: of these choices, percent.
      loss: its mean.
      log_p: fp32 [N, C], the sum over each candidate's tokens, or a classifier's logits.
      lengths: fp32 [N, C], tokens of each; 1 for a classifier.
    """

    scores: np.ndarray
    accuracy: float
    loss: float
    log_p: np.ndarray
    lengths: np.ndarray


def measure(
    config: Architecture,
    params: Tree,
    asked: Sequence[Labelled],
    tuning: Tuning = Tuning(),  # noqa: B008 - immutable
    shape: RowShape | None = None,
    run: RunContext = ONE_DEVICE,
) -> Measured:
    """Scores and accuracy of a model.

    The scores of candidates by their tokens are those of `pangu_jax.apps.language.decoding.scoring.score`.

    Args:
      config: the model's shape.
      params: its complete parameters.
      asked: the examples.
      tuning: its method says whether a classifier is asked, and its objective how one chooses.
      shape: rows are padded to; that of the examples when None. Give a task's shape to share programs.
      run: placement and dtype of the forward pass.

    Raises:
      UserError: as `examples.shape_of`.
    """
    asked = examples.with_prompt(config, asked, len(params["embedding"]) - config.vocab_size)
    asked = asked_by(tuning.method, config, asked)
    rows = examples.rows(asked, shape or examples.shape_of(asked))
    return measure_rows(config, params, rows, tuning, run)


def measure_rows(
    config: Architecture, params: Tree, rows: Rows, tuning: Tuning, run: RunContext = ONE_DEVICE
) -> Measured:
    """As `measure`, of examples that are arrays already."""
    forward = TrieForward(config, run.placement, dtype=run.dtype, kernel=run.kernel)
    source = HeldOutSource(rows, queries.whole_shards(BATCH, run.placement.batch_shards))
    found = []
    for batch in source.iterator(0):
        own_B = batch["counted"] > 0
        of_batch = _scores(params, batch, forward, tuning.method.pool, tuning.objective)
        found.append([np.asarray(array)[own_B] for array in of_batch])
    back_N = np.argsort(source.order_N)
    score_NxC, loss_N, log_p_NxC, length_NxC = (
        np.concatenate(batches)[back_N] for batches in zip(*found, strict=True)
    )
    right = np.mean(np.argmax(score_NxC, axis=1) == rows.answer_N)
    return Measured(score_NxC, 100 * float(right), float(np.mean(loss_N)), log_p_NxC, length_NxC)


@partial(jax.jit, static_argnames=("forward", "pool", "objective"))
def _scores(
    params: Tree, batch: Batch, forward: TrieForward, pool: Pool | None, objective: Objective
) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
    """The score [B, C] by which candidates are chosen, the loss [B], log p and length of candidates [B, C].

    Whatever learnt, its complete parameters are scored alike: one program serves all methods, tuned or not.
    """
    found = trie_forward.scores(forward, params, batch, pool)
    chosen_by, loss = losses.chosen_by(found, objective), losses.of_examples(found, batch, objective)
    return chosen_by, loss, found.candidate_BxC, found.length_BxC
