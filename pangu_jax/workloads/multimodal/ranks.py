"""Ranks of what is right among what is found: recall at k and median rank, of texts and pictures alike.

A query may have several right candidates, and the best of them counts. Its rank is 1 + the number of wrong
candidates that are not worse than its best right one. So ties are against the model: where all scores are
equal, every wrong candidate comes first, and a model of constant output has recall 0. (Codebases that count
the candidates that are strictly better give it 100.) Other right candidates stand in nobody's way.

Scores closer than `TIE` are equal: products of equal vectors differ by rounding, by where in an array they
stand. A score that is no number is not worse than any, so that it does the model no good.

Numbers only: the evaluator in training and `pangu eval` both count by these.
"""

from collections.abc import Sequence

import numpy as np

TIE = 1e-5  # of a cosine; fp32 sums over a thousand dimensions are exact to about 1e-6
BLOCK = 2**24  # scores that are made at once: 64 MB
WAYS = ("text_to_image", "image_to_text")


def ranks(query_QxE: np.ndarray, candidate_NxE: np.ndarray, links_Lx2: np.ndarray) -> np.ndarray:
    """int64 [Q]: each query's rank, from 1; 0 where a query has no right candidate, and is not asked.

    Queries are compared block by block, so that no array of all queries x all candidates is made.

    Args:
      query_QxE: fp32, of length 1.
      candidate_NxE: fp32, of length 1.
      links_Lx2: int, (query, right candidate), in any order; twice is once.

    Raises:
      ValueError: a link names a query or a candidate that is not there.
    """
    queries, candidates = len(query_QxE), len(candidate_NxE)
    rank_Q = np.zeros(queries, np.int64)
    links = np.unique(np.reshape(links_Lx2, (-1, 2)).astype(np.int64), axis=0)  # in the queries' order
    if not len(links):
        return rank_Q
    if links.min() < 0 or (links.max(axis=0) >= (queries, candidates)).any():
        raise ValueError(f"links up to {links.max(axis=0)} for {queries} queries and {candidates} candidates")
    right_Q = np.bincount(links[:, 0], minlength=queries)
    first_Q = np.cumsum(right_Q) - right_Q  # each query's first link
    asked = np.flatnonzero(right_Q)
    candidate_ExN = np.asarray(candidate_NxE, np.float32).T
    rows = max(1, BLOCK // candidates)
    for start in range(0, len(asked), rows):
        own = asked[start : start + rows]
        score_RxN = np.asarray(query_QxE[own], np.float32) @ candidate_ExN
        of_own = links[first_Q[own[0]] : first_Q[own[-1]] + right_Q[own[-1]]]
        row = np.searchsorted(own, of_own[:, 0])
        score_L, begin = score_RxN[row, of_own[:, 1]], first_Q[own] - first_Q[own[0]]
        least_R = np.maximum.reduceat(score_L, begin) - np.float32(TIE)  # nan if one is nan
        ahead_R = (~(score_RxN < least_R[:, None])).sum(axis=1)
        right_ahead_R = np.add.reduceat((~(score_L < least_R[row])).astype(np.int64), begin)
        rank_Q[own] = 1 + ahead_R - right_ahead_R
    return rank_Q


def recall(rank_Q: np.ndarray, k: int, weight_Q: np.ndarray | None = None) -> float:
    """Percent of the queries asked whose rank is at most k; nan where none is asked.

    Args:
      rank_Q: of `ranks`.
      k: candidates that are looked at.
      weight_Q: how often each query counts; once if None.
    """
    weight_Q = _weights(rank_Q, weight_Q)
    return 100 * float(weight_Q[rank_Q <= k].sum()) / _total(weight_Q)


def median_rank(rank_Q: np.ndarray, weight_Q: np.ndarray | None = None) -> float:
    """The middle of the ranks asked, the mean of both where two are; nan where none is asked.

    Args:
      rank_Q: of `ranks`.
      weight_Q: as for `recall`.
    """
    weight_Q = _weights(rank_Q, weight_Q)
    if np.isnan(half := _total(weight_Q) / 2):
        return half
    below = np.cumsum(np.bincount(rank_Q, weights=weight_Q))
    return float(np.searchsorted(below, half) + np.searchsorted(below, half, side="right")) / 2


def chance(links_Lx2: np.ndarray, candidates: int, k: int) -> float:
    """Recall at k, in percent, that a random order of the candidates has on average.

    Args:
      links_Lx2: as for `ranks`, each once.
      candidates: how many there are.
      k: how many are looked at.
    """
    if not len(links_Lx2):
        return float("nan")
    counts, queries = np.unique(np.unique(links_Lx2[:, 0], return_counts=True)[1], return_counts=True)
    missed = [
        np.prod([max(0.0, candidates - k - i) / (candidates - i) for i in range(count)]) for count in counts
    ]
    return 100 * (1 - float(np.average(missed, weights=queries)))


def ranks_both_ways(
    text_TxE: np.ndarray, picture_PxE: np.ndarray, links_Lx2: np.ndarray
) -> dict[str, np.ndarray]:
    """Way -> ranks of its queries: of texts among pictures, and of pictures among texts.

    Args:
      text_TxE: fp32, of length 1.
      picture_PxE: fp32, of length 1.
      links_Lx2: int, (text, picture) of all right pairs.
    """
    links_Lx2 = np.asarray(links_Lx2)
    return {
        WAYS[0]: ranks(text_TxE, picture_PxE, links_Lx2),
        WAYS[1]: ranks(picture_PxE, text_TxE, links_Lx2[:, ::-1]),
    }


def measured(
    ranks_by_way: dict[str, np.ndarray], ks: Sequence[int] = (1, 5, 10)
) -> dict[str, dict[str, float]]:
    """Measure -> way -> value: `recall_at_K` in percent and `median_rank`.

    Args:
      ranks_by_way: of `ranks_both_ways`.
      ks: of the recalls.
    """
    found = {f"recall_at_{k}": {way: recall(own, k) for way, own in ranks_by_way.items()} for k in ks}
    return found | {"median_rank": {way: median_rank(own) for way, own in ranks_by_way.items()}}


def _weights(rank_Q: np.ndarray, weight_Q: np.ndarray | None) -> np.ndarray:
    return np.where(rank_Q > 0, 1.0 if weight_Q is None else weight_Q, 0.0)


def _total(weight_Q: np.ndarray) -> float:
    return float(weight_Q.sum()) or float("nan")
