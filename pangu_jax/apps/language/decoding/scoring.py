"""Scoring candidates: log p of each continuation, an example's inputs and prefix read once.

The candidates of an example are a trie (`trie.py`). Queries are sorted by their lengths, which leaves few
shapes to compile and little padding.
"""

from collections.abc import Sequence
from functools import partial

import jax
import numpy as np

from pangu_jax.apps.language.decoding import queries, trie
from pangu_jax.apps.language.decoding.queries import Query, round_up
from pangu_jax.apps.language.decoding.trie import ScoringPlan
from pangu_jax.apps.language.decoding.trie_forward import Batch, TrieForward, token_scores
from pangu_jax.errors import UserError
from pangu_jax.models.parameters import Tree
from pangu_jax.workloads.language.model.forward import Forward

TOKENS = 8192  # of encoder and decoder in a shard of a batch, at most: bounds its memory
READS = 2048  # columns of logits in a shard of a batch, at most: 260 MB of a vocabulary of 32k


def score(
    forward: Forward, params: Tree, asked: Sequence[Query], *, batch_size: int = 32
) -> list[np.ndarray]:
    """Sum of log p of each candidate's tokens after inputs and prefix, fp32 [candidates] per query.

    Args:
      forward: the forward pass; its configuration and dtype are used.
      params: parameters, also those of a tuned model.
      asked: the queries, in any order of lengths.
      batch_size: most queries in a batch.

    Raises:
      UserError: an empty or over-long query, a query without candidates or with an empty one, logits that are
        not numbers.
    """
    queries.check(asked)
    for number, query in enumerate(asked, start=1):
        if not query.candidates or any(len(candidate) == 0 for candidate in query.candidates):
            raise UserError(f"query {number} needs candidates of at least one token each")
        longest = max(len(candidate) for candidate in query.candidates)
        queries.require_positions([query], longest - 1, forward.config.positions)
    on_trie = TrieForward(forward.config, forward.placement, dtype=forward.dtype, kernel=forward.kernel)
    plans = [trie.plan(query) for query in asked]
    shapes = [_shape(query, plan) for query, plan in zip(asked, plans, strict=True)]
    out: list[np.ndarray] = [np.zeros(0, np.float32)] * len(asked)
    order = sorted(range(len(asked)), key=lambda i: (shapes[i], len(asked[i].inputs)))
    for numbers, shape, size in _batches(order, shapes, batch_size, forward.placement.batch_shards):
        rows = [_row(asked[i], plans[i], shape) for i in numbers]
        rows += rows[:1] * (size - len(rows))
        batch = {name: np.stack([row[name] for row in rows]) for name in rows[0]}
        batch["sees"] = trie.ancestors(batch.pop("parent"))
        log_p_BxP = np.asarray(_log_p(on_trie, params, batch))
        for i, log_p_P in zip(numbers, log_p_BxP, strict=False):
            owner_P = plans[i].candidate_P
            out[i] = np.bincount(owner_P, log_p_P[: len(owner_P)]).astype(np.float32)
            if not np.isfinite(out[i]).all():
                raise UserError(
                    f"the scores of query {i + 1} are not finite numbers: the checkpoint is damaged, or "
                    "dtype float32 is needed"
                )
    return out


def _shape(query: Query, plan: ScoringPlan) -> tuple[int, ...]:
    """Rounded sizes of a query: encoder tokens, decoder columns, logits, pairs."""
    return (
        round_up(len(query.inputs), queries.SHORTEST),
        round_up(len(plan.tokens_M), 4),
        round_up(len(plan.read_N)),
        round_up(len(plan.at_P), 4),
    )


def _batches(order: list[int], shapes: list[tuple[int, ...]], batch_size: int, shards: int):
    """(numbers, shape, rows) of neighbours in the order that share a shape; all shards have as many."""
    first = 0
    while first < len(order):
        shape = shapes[order[first]]
        of_a_shard = max(1, min(TOKENS // (shape[0] + shape[1]), READS // shape[2]))
        rows = queries.whole_shards(min(batch_size, shards * of_a_shard), shards)
        same = [i for i in order[first : first + rows] if shapes[i] == shape]
        yield same, shape, queries.whole_shards(min(round_up(len(same)), rows), shards)
        first += len(same)


def _row(query: Query, plan: ScoringPlan, shape: tuple[int, ...]) -> dict[str, np.ndarray]:
    length, columns, reads, pairs = shape

    def pad(values: np.ndarray, size: int, value: int = 0) -> np.ndarray:
        return np.pad(np.asarray(values, np.int32), (0, size - len(values)), constant_values=value)

    return {
        "inputs": pad(query.inputs, length),
        "tokens": pad(plan.tokens_M, columns),
        "depth": pad(plan.depth_M, columns),
        "parent": pad(plan.parent_M, columns, -1),
        "read": pad(plan.read_N, reads),
        "at": pad(plan.at_P, pairs),
        "token": pad(plan.token_P, pairs),
    }


@partial(jax.jit, static_argnames="forward")
def _log_p(forward: TrieForward, params: Tree, batch: Batch) -> jax.Array:
    """log p of each pair's token, fp32 [B, P]."""
    return token_scores(forward, params, batch).token_BxP
