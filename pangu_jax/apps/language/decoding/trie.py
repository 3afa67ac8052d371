"""A query's candidates as a trie: one row of the decoder, in which what they have in common is computed once.

The inner nodes of the trie become columns; a column sees the prefix and its ancestors, so fifteen labels cost
little more than one. The vocabulary's logits are taken only where a candidate is continued.
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np

from pangu_jax.apps.language.decoding.queries import Query


class ScoringPlan(NamedTuple):
    """A query's decoder row: its start and prefix, then the inner nodes of the candidates' trie.

    Attributes:
      tokens_M: int32, inputs.
      depth_M: int32, how far each is from the first.
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


def plan(query: Query) -> ScoringPlan:
    """The decoder row of a query."""
    start = query.decoder_row
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
    """The part of a plan that depends on candidates (int32 bytes each) alone: most tasks have the same ones
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


def ancestors(parent_BxM: np.ndarray) -> np.ndarray:
    """Which columns each column sees: itself and those before it on its path, bool [B, M, M].

    Args:
      parent_BxM: the column before each; -1 for the first, and for padding.
    """
    rows, columns = parent_BxM.shape
    sees_BxMxM = np.broadcast_to(np.eye(columns, dtype=bool), (rows, columns, columns)).copy()
    for column in range(1, columns):
        parent_B = parent_BxM[:, column]
        sees_BxMxM[:, column] |= sees_BxMxM[np.arange(rows), parent_B] & (parent_B >= 0)[:, None]
    return sees_BxMxM
