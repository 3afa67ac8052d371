"""Which documents stay, and how many each represents."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from data_pipelines.corpus.dedup import tables
from data_pipelines.corpus.dedup.candidates import EXACT
from data_pipelines.corpus.dedup.similarity import EDGES

CLUSTERS = "clusters.arrow"
SIZES = (2, 3, 5, 10, 100, 1000, 10_000, 100_000, 2**32)

_EDGES_AT_A_TIME = 2**20


def cluster(joined: Sequence[Path], verified: Sequence[Path], *, out: Path) -> dict:
    """Decides, in the order of documents: one stays unless it is like an earlier one that stays.

    So what goes is like what stays, not like something that is itself gone: connected components, the usual
    way, also drop the far end of a chain. What goes counts for the first document that stays and is like it.

    Writes clusters.arrow, sorted by document, of those that go or represent others: document, representative
    uint64; size uint32, documents that it represents, itself included; keep; exact, whether it
    has a copy's letters.

    Memory: about 50 bytes per edge and an exact copy of the whole corpus.

    Args:
      joined: folders that `join` filled.
      verified: folders that `verify` filled.
    """
    exact = tables.read_all([folder / EXACT for folder in joined])
    edges = tables.read_all([folder / EDGES for folder in verified], names=("a", "b"))
    near, near_leaders = leaders(edges["a"], edges["b"])
    exact_leaders = exact["first"].copy()
    if len(near):
        place = np.minimum(near.searchsorted(exact_leaders), len(near) - 1)
        gone = near[place] == exact_leaders
        exact_leaders[gone] = near_leaders[place[gone]]
    dropped = np.concatenate([near, exact["document"]])
    dropped_leaders = np.concatenate([near_leaders, exact_leaders])
    kept, others = np.unique(dropped_leaders, return_counts=True)
    documents = np.concatenate([kept, dropped])
    order = np.argsort(documents)
    representatives = np.concatenate([kept, dropped_leaders])
    columns = {
        "document": documents,
        "representative": representatives,
        "size": (others[kept.searchsorted(representatives)] + 1).astype(np.uint32),
        "keep": np.arange(len(documents)) < len(kept),
        "exact": np.arange(len(documents)) >= len(kept) + len(near),
    }
    tables.write(out / CLUSTERS, {name: values[order] for name, values in columns.items()})
    counts = np.histogram(others + 1, SIZES)[0]
    return {
        "counts": {
            "clusters": len(kept),
            "exact_copies": len(exact["document"]),
            "near_duplicates": len(near),
        },
        "histograms": {"cluster_size": {"edges": list(SIZES), "counts": counts.tolist()}},
    }


def leaders(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of a graph whose vertices are decided in order: a vertex leads unless it has an edge to an earlier
    leader.

    Args:
      a: uint64 [edges], the earlier vertex of each edge.
      b: uint64 [edges], the later one.

    Returns:
      those that do not lead, sorted, and for each the first leader it has an edge to: uint64, both.
    """
    vertices = np.unique(np.concatenate([a, b]))
    a, b = vertices.searchsorted(a), vertices.searchsorted(b)
    order = np.lexsort((a, b))
    follows = bytearray(len(vertices))
    leader = np.zeros(len(vertices), np.int64)
    # By b, then a: whether a leads is known when it is asked for.
    for low, high in _pairs(a, b, order):
        if not follows[high] and not follows[low]:
            follows[high] = 1
            leader[high] = low
    following = np.flatnonzero(np.frombuffer(follows, np.uint8))
    return vertices[following], vertices[leader[following]]


def _pairs(a: np.ndarray, b: np.ndarray, order: np.ndarray) -> Iterator[tuple[int, int]]:
    for begin in range(0, len(order), _EDGES_AT_A_TIME):
        rows = order[begin : begin + _EDGES_AT_A_TIME]
        yield from zip(a[rows].tolist(), b[rows].tolist(), strict=True)
