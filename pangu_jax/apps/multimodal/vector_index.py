"""Nearest vectors of many: a search index by faiss, and every one compared where it must be exact.

The exact kind reads 8-bit codes of all vectors first, a quarter of the bytes (one query is as fast as memory
is), and then the vectors of the best candidates. What codes leave out is bounded: q.x and q.code(x) are no
further apart than x and code(x), for q of length 1. Where that bound does not rule out all the rest, or a
batch of queries comes, all vectors are compared: results are those of brute force. The approximate kind looks
into the lists of vectors nearest to the query and may miss some (an inverted file; Jegou, Douze and Schmid,
Product Quantization for Nearest Neighbor Search, 2011).
"""

import contextlib
from collections.abc import Generator
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import numpy as np

from pangu_jax.errors import UserError

Kind = Literal["exact", "approximate"]
KINDS = get_args(Kind)
BATCHED = 16  # queries from which one product over all vectors is as fast
BLOCK = 2**24  # scores, or numbers of vectors, that are made at once: 64 MB
_CANDIDATES = 200
_PROBED = 32  # lists
_PER_LIST = 39  # vectors; faiss warns below
_LEARNT_FROM = 64  # vectors a list, by which its centre is found


class NearestVectors(NamedTuple):
    """What is nearest to queries: the nearest first, and of equal ones the one that comes first."""

    number_QxK: np.ndarray  # int64; -1 where an approximate index found no more
    cosine_QxK: np.ndarray  # fp32; -inf there


class VectorIndex:
    """Vectors of length 1, and what finds the nearest of them.

    Args:
      vectors_NxE: fp32, of length 1; may lie on disk.
      index: of faiss.
      kind: which.
      error: the most that the code of a vector is away from it; of no meaning where approximate.
    """

    def __init__(self, vectors_NxE: np.ndarray, index: Any, kind: Kind, error: float):
        self.vectors_NxE, self.kind, self.error = vectors_NxE, kind, error
        self._index = index

    @classmethod
    def build(cls, vectors_NxE: np.ndarray, kind: Kind = "exact") -> "VectorIndex":
        """Of vectors, which are brought to length 1.

        Args:
          vectors_NxE: fp32, finite and not 0.
          kind: one of `KINDS`.

        Raises:
          UserError: faiss is not installed, or there is no such kind.
        """
        if kind not in KINDS:
            raise UserError(f"there is no index of kind {kind!r}: {' or '.join(KINDS)}")
        vectors_NxE = unit(vectors_NxE)
        count, width = vectors_NxE.shape
        faiss = require_faiss()
        if kind == "exact":
            index, error = faiss.index_factory(width, "SQ8", faiss.METRIC_INNER_PRODUCT), 0.0
        else:
            lists = max(1, min(int(2 * count**0.5), count // _PER_LIST))
            index, error = faiss.index_factory(width, f"IVF{lists},SQ8", faiss.METRIC_INNER_PRODUCT), 0.0
            index.cp.max_points_per_centroid = _LEARNT_FROM
        if count:
            index.train(vectors_NxE)
            index.add(vectors_NxE)
        if kind == "exact":
            for start in range(0, count, rows := max(1, BLOCK // width)):
                part = vectors_NxE[start : start + rows]
                coded = index.reconstruct_n(start, len(part))
                error = max(error, float(np.linalg.norm(part - coded, axis=1).max()))
        return cls(vectors_NxE, index, kind, error)

    @classmethod
    def load(cls, folder: Path, kind: Kind, error: float) -> "VectorIndex":
        """What `save` wrote; vectors stay on disk.

        Raises:
          ValueError, OSError, RuntimeError: it is damaged.
        """
        if kind not in KINDS:
            raise ValueError(f"kind {kind!r}")
        vectors_NxE = np.load(folder / "vectors.npy", mmap_mode="r", allow_pickle=False)
        index = require_faiss().read_index(str(folder / "index.faiss"))
        if vectors_NxE.dtype != np.float32 or vectors_NxE.shape != (index.ntotal, index.d):
            raise ValueError(f"vectors {vectors_NxE.shape} for an index of {index.ntotal} x {index.d}")
        return cls(vectors_NxE, index, kind, error)

    def save(self, folder: Path) -> None:
        """Writes the vectors and the index, each in its library's own format, into a folder."""
        np.save(folder / "vectors.npy", self.vectors_NxE, allow_pickle=False)
        require_faiss().write_index(self._index, str(folder / "index.faiss"))

    def search(self, query_QxE: np.ndarray, count: int) -> NearestVectors:
        """The nearest of all vectors, by cosine.

        Args:
          query_QxE: fp32, finite and not 0.
          count: at most so many of each query.
        """
        query_QxE = unit(query_QxE)
        count = min(count, len(self.vectors_NxE))
        if not count or not len(query_QxE):
            shape = len(query_QxE), count
            return NearestVectors(np.zeros(shape, np.int64), np.zeros(shape, np.float32))
        if self.kind == "exact" and len(query_QxE) >= BATCHED:
            return compare_all(self.vectors_NxE, query_QxE, count)
        found = [self._of_one(query_E, count) for query_E in query_QxE]
        return NearestVectors(*map(np.stack, zip(*found, strict=True)))

    def _of_one(self, query_E: np.ndarray, count: int) -> NearestVectors:
        """Numbers and cosines [K] of one query."""
        total, width = self.vectors_NxE.shape
        wanted = min(total, max(_CANDIDATES, 4 * count))
        options = {}
        if self.kind == "approximate":
            options["params"] = require_faiss().SearchParametersIVF(nprobe=_PROBED)
        with _one_thread():
            coded_1xC, number_1xC = self._index.search(query_E[None], wanted, **options)
        number_C = np.sort(number_1xC[0][number_1xC[0] >= 0])
        found = _best(self.vectors_NxE, number_C, query_E, count)
        if self.kind == "approximate" or wanted == total:
            return found
        best_of_rest = coded_1xC[0, -1] + self.error + _rounding(width)
        if found.cosine_QxK[-1] > best_of_rest:
            return found
        every = compare_all(self.vectors_NxE, query_E[None], count)
        return NearestVectors(every.number_QxK[0], every.cosine_QxK[0])


def compare_all(vectors_NxE: np.ndarray, query_QxE: np.ndarray, count: int) -> NearestVectors:
    """The nearest by brute force, in blocks of vectors: what an exact index is held against.

    Args:
      vectors_NxE: fp32, of length 1.
      query_QxE: fp32, of length 1.
      count: at most as many as there are vectors.
    """
    rows = max(count, BLOCK // max(1, len(query_QxE)))
    found = [NearestVectors(np.zeros(0, np.int64), np.zeros(0, np.float32)) for _ in query_QxE]
    for start in range(0, len(vectors_NxE), rows):
        cosine_QxR = query_QxE @ vectors_NxE[start : start + rows].T
        for place, query_E in enumerate(query_QxE):
            near_C = start + _near(cosine_QxR[place], count, vectors_NxE.shape[1])
            candidates = np.append(found[place].number_QxK, near_C)
            found[place] = _best(vectors_NxE, candidates, query_E, count)
    return NearestVectors(*map(np.stack, zip(*found, strict=True)))


def unit(vectors_NxE: np.ndarray) -> np.ndarray:
    """fp32 [N, E] of length 1.

    Raises:
      ValueError: one is 0 or not finite.
    """
    vectors_NxE = np.ascontiguousarray(vectors_NxE, np.float32)
    length_Nx1 = np.linalg.norm(vectors_NxE, axis=1, keepdims=True)
    if not (np.isfinite(length_Nx1) & (length_Nx1 > 0)).all():
        raise ValueError("a vector is 0 or not finite, and has no direction")
    return vectors_NxE / length_Nx1


def _near(cosine_R: np.ndarray, count: int, width: int) -> np.ndarray:
    """int [C]: places of the `count` best, and of what only rounding may have put behind them."""
    if len(cosine_R) <= count:
        return np.arange(len(cosine_R))
    last = len(cosine_R) - count
    return np.flatnonzero(cosine_R >= np.partition(cosine_R, last)[last] - 2 * _rounding(width))


def _best(vectors_NxE: np.ndarray, number_C: np.ndarray, query_E: np.ndarray, count: int) -> NearestVectors:
    """The best of ascending numbers, [K]; padded where there are fewer.

    Cosines are by fp64 sums over each vector by itself, so that equal vectors are equal wherever they stand,
    which a matrix product does not promise.
    """
    cosine_C = (vectors_NxE[number_C].astype(np.float64) * query_E).sum(axis=1)
    order = np.argsort(-cosine_C, kind="stable")[:count]
    lack = count - len(order)
    return NearestVectors(
        np.pad(number_C[order], (0, lack), constant_values=-1),
        np.pad(cosine_C[order].astype(np.float32), (0, lack), constant_values=-np.inf),
    )


def _rounding(width: int) -> float:
    """How far an fp32 product of two vectors of length 1 may be from the true one."""
    return width * 2.0**-22


@contextlib.contextmanager
def _one_thread() -> Generator[None]:
    """One query is no work for two threads: faiss starts its threads all the same and waits for them, and on
    a machine that has something else to do that takes four times as long."""
    faiss = require_faiss()
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)


def require_faiss() -> Any:
    """The library. UserError where it is not installed."""
    try:
        import faiss
    except ImportError:
        raise UserError(
            "an index of pictures needs faiss, which is not installed: pip install 'pangu-jax[retrieval]'"
        ) from None
    return faiss
