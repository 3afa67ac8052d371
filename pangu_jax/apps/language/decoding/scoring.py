"""Scoring candidates: log p of each continuation, an example's inputs and prefix read once.

The candidates of an example are a trie. Its inner nodes become the columns of one pass of the decoder: a node
sees the prefix and its ancestors, so fifteen labels cost little more than one, and what two candidates begin
with is computed once. The vocabulary's logits are taken only where a candidate continues. Queries are sorted
by their lengths, which leaves few shapes to compile and little padding.
"""

from collections.abc import Sequence
from functools import lru_cache, partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from pangu_jax.apps.language.decoding import queries, sampling
from pangu_jax.apps.language.decoding.generator import prepare
from pangu_jax.apps.language.decoding.prefill import encoder_batch
from pangu_jax.apps.language.decoding.queries import Query, round_up
from pangu_jax.errors import UserError
from pangu_jax.models.parameters import Tree
from pangu_jax.workloads.language.model import incremental
from pangu_jax.workloads.language.model.forward import Forward

TOKENS = 8192  # of encoder and decoder in a shard of a batch, at most: bounds its memory
READS = 2048  # columns of logits in a shard of a batch, at most: 260 MB of a vocabulary of 32k


class ScoringPlan(NamedTuple):
    """A query's decoder row: the start token, the prefix, then the inner nodes of the candidates' trie.

    Attributes:
      tokens_M: int32, inputs.
      depth_M: int32, how far each is from the start token.
      parent_M: int32, the column before it; -1 for the first.
      read_N: int32, columns whose logits are needed.
      at_P: int32, of each pair (candidate, token of it) its place in `read_N`.
      token_P: int32, its token.
      candidate_P: int32, its candidate.
    """

    tokens_M: np.ndarray
    depth_M: np.ndarray
    parent_M: np.ndarray
    read_N: np.ndarray
    at_P: np.ndarray
    token_P: np.ndarray
    candidate_P: np.ndarray


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
    weights = prepare(forward, params)
    plans = [plan(query) for query in asked]
    shapes = [_shape(query, plan_) for query, plan_ in zip(asked, plans, strict=True)]
    out: list[np.ndarray] = [np.zeros(0, np.float32)] * len(asked)
    order = sorted(range(len(asked)), key=lambda i: (shapes[i], len(asked[i].inputs)))
    for numbers, shape, size in _batches(order, shapes, batch_size, forward.placement.batch_shards):
        rows = [_row(asked[i], plans[i], shape) for i in numbers]
        rows += rows[:1] * (size - len(rows))
        log_p_BxP = np.asarray(_log_p(forward, params, weights, *map(np.stack, zip(*rows, strict=True))))
        for i, log_p_P in zip(numbers, log_p_BxP, strict=False):
            owner_P = plans[i].candidate_P
            out[i] = np.bincount(owner_P, log_p_P[: len(owner_P)]).astype(np.float32)
            if not np.isfinite(out[i]).all():
                raise UserError(
                    f"the scores of query {i + 1} are not finite numbers: the checkpoint is damaged, or "
                    "dtype float32 is needed"
                )
    return out


def plan(query: Query) -> ScoringPlan:
    """The decoder row of a query."""
    start = np.array([0, *query.prefix], np.int32)
    last = len(start) - 1
    trie = _trie(tuple(np.asarray(candidate, np.int32).tobytes() for candidate in query.candidates))
    count = np.arange(len(start), dtype=np.int32)
    return trie._replace(
        tokens_M=np.concatenate([start, trie.tokens_M]),
        depth_M=np.concatenate([count, trie.depth_M + last]),
        parent_M=np.concatenate([count - 1, trie.parent_M + last]),
        read_N=trie.read_N + last,
    )


@lru_cache(maxsize=256)
def _trie(candidates: tuple[bytes, ...]) -> ScoringPlan:
    """The part of a plan that hangs on candidates (int32 bytes each) alone: most tasks have the same ones
    everywhere. Columns count from what is before the first token, which is column 0 and not listed."""
    tokens, parents, depths = [], [], []
    columns: dict[tuple[int, ...], int] = {(): 0}
    pairs: list[tuple[int, int, int]] = []
    for number, candidate in enumerate(candidates):
        path = tuple(np.frombuffer(candidate, np.int32).tolist())
        for length, token in enumerate(path):
            before = path[:length]
            if before not in columns:
                parents.append(columns[before[:-1]])
                depths.append(length)
                tokens.append(before[-1])
                columns[before] = len(tokens)
            pairs.append((columns[before], token, number))
    column_P, token_P, candidate_P = np.array(pairs, np.int32).T
    read_N, at_P = np.unique(column_P, return_inverse=True)
    tokens_M, depth_M, parent_M = (np.array(x, np.int32) for x in (tokens, depths, parents))
    return ScoringPlan(
        tokens_M,
        depth_M,
        parent_M,
        read_N,
        at_P.astype(np.int32),
        token_P,
        candidate_P,
    )


def _shape(query: Query, plan_: ScoringPlan) -> tuple[int, ...]:
    """Rounded sizes of a query: encoder tokens, decoder columns, logits, pairs."""
    return (
        round_up(len(query.inputs), queries.SHORTEST),
        round_up(len(plan_.tokens_M), 4),
        round_up(len(plan_.read_N)),
        round_up(len(plan_.at_P), 4),
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


def _row(query: Query, plan_: ScoringPlan, shape: tuple[int, ...]) -> tuple[np.ndarray, ...]:
    length, columns, reads, pairs = shape
    visible_MxM = np.eye(columns, dtype=bool)
    for column, parent in enumerate(plan_.parent_M):
        if parent >= 0:
            visible_MxM[column] |= visible_MxM[parent]
    pad = lambda x, size: np.pad(x, (0, size - len(x)))  # noqa: E731
    return (
        pad(np.asarray(query.inputs, np.int32), length),
        pad(plan_.tokens_M, columns),
        pad(plan_.depth_M, columns),
        visible_MxM,
        pad(plan_.read_N, reads),
        pad(plan_.at_P, pairs),
        pad(plan_.token_P, pairs),
    )


@partial(jax.jit, static_argnames=("forward",))
def _log_p(
    forward: Forward,
    params: Tree,
    weights: Tree,
    inputs_BxS: jax.Array,
    tokens_BxM: jax.Array,
    depth_BxM: jax.Array,
    visible_BxMxM: jax.Array,
    read_BxN: jax.Array,
    at_BxP: jax.Array,
    token_BxP: jax.Array,
) -> jax.Array:
    """log p of each pair's token, fp32 [B, P]."""
    (batch, columns), reads = tokens_BxM.shape, read_BxN.shape[1]
    features = encoder_batch(inputs_BxS)
    memory_BxSxD = forward.encode(params, features)
    memory = incremental.encode_memory(forward, weights, memory_BxSxD, features["encoder_segment_ids"])
    bias = incremental.bias_by_distance(forward.config, weights, columns)
    if bias is not None:
        distance_BxMxM = jnp.maximum(depth_BxM[:, :, None] - depth_BxM[:, None], 0)
        bias = jnp.moveaxis(bias[:, distance_BxMxM], 0, 1)
    hidden_DxR, _ = incremental.extend(
        forward,
        weights,
        memory,
        incremental.empty_cache(forward, weights, batch, columns),
        tokens_BxM,
        depth_BxM,
        0,
        visible_BxMxM,
        bias,
    )
    hidden_DxBxM = hidden_DxR.reshape(-1, batch, columns)
    hidden_DxBxN = jnp.take_along_axis(hidden_DxBxM, read_BxN[None], axis=2)
    logits_VxR = incremental.logits(forward, weights, hidden_DxBxN.reshape(-1, batch * reads))
    logits_VxBxN = logits_VxR.reshape(-1, batch, reads)
    token_logits_BxP = logits_VxBxN[token_BxP, jnp.arange(batch)[:, None], at_BxP]
    normaliser_BxN = sampling.log_normaliser(logits_VxR).reshape(batch, reads)
    return token_logits_BxP - jnp.take_along_axis(normaliser_BxN, at_BxP, axis=1)
