"""Which documents are the same, and which may be nearly so: a join of one part of all chunks' hashes."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from data_pipelines.corpus.dedup import tables
from data_pipelines.corpus.dedup.settings import Dedup
from data_pipelines.corpus.dedup.signatures import BANDS, DIGESTS
from data_pipelines.corpus.spans import mixed

EXACT = "exact.arrow"
PAIRS = "pairs.arrow"
WANTED = "wanted.arrow"


def join(part: int, signed: Sequence[Path], settings: Dedup, *, out: Path) -> dict:
    """Joins one part of what `sign` wrote for all chunks.

    exact.arrow (document, first uint64): each document that has the letters of an earlier one, and the first
    such. pairs.arrow (a, b uint64; a < b): candidates, each once, in as many parts as the hashes have, by a.
    wanted.arrow (document uint64; part uint32): the part of pairs.arrow a document's text is needed for.

    A bucket makes no pairs of all with all. Its documents, in order, are compared each with the one before
    it and with the first of their `hot_bucket`: fewer than two pairs per document, however hot the bucket. Of
    exact copies only the first is in it.

    Args:
      signed: folders that `sign` filled, in the order of chunks, at least one.
    """
    copies, firsts = _exact(part, signed)
    tables.write(out / EXACT, {"document": copies, "first": firsts})
    a, b, counts = _candidates(part, signed, settings.hot_bucket)
    parts = tables.parts(signed[0] / BANDS)
    by_a = tables.part_of(mixed(a), parts)
    tables.write(out / PAIRS, {"a": a, "b": b}, by_a, parts)
    wanted, wanted_for = tables.distinct(np.concatenate([a, b]), np.concatenate([by_a, by_a]))
    tables.write(out / WANTED, {"document": wanted, "part": wanted_for.astype(np.uint32)})
    return {"counts": {"exact_copies": len(copies), "candidates_by_part": len(a), **counts}}


def _exact(part: int, signed: Sequence[Path]) -> tuple[np.ndarray, np.ndarray]:
    paths = [folder / DIGESTS for folder in signed]
    repeated = tables.repeated(paths, part, "high")
    rows = tables.concatenate([tables.select(path, part, "high", repeated, ("low",)) for path in paths])
    order = np.lexsort((rows["document"], rows["low"], rows["group"]))
    documents = rows["document"][order]
    new = tables.starts(rows["group"][order], rows["low"][order])
    firsts = documents[new][new.cumsum() - 1]
    copies, originals = tables.distinct(documents[~new], firsts[~new])
    return copies, originals


def _candidates(
    part: int, signed: Sequence[Path], hot_bucket: int
) -> tuple[np.ndarray, np.ndarray, dict[str, int]]:
    paths = [folder / BANDS for folder in signed]
    repeated = tables.repeated(paths, part, "hash")
    rows = [tables.select(path, part, "hash", repeated, ("twin",)) for path in paths]
    documents, groups = _without_copies(**tables.concatenate(rows))
    new = tables.starts(groups)
    begins = np.flatnonzero(new)
    place = np.arange(len(groups)) - begins[new.cumsum() - 1]
    hubs = np.arange(len(groups)) - place % hot_bucket
    others = np.flatnonzero(~new)
    a = np.concatenate([documents[others - 1], documents[hubs[others]]])
    b = np.concatenate([documents[others], documents[others]])
    a, b = tables.distinct(a[a != b], b[a != b])
    sizes = np.diff(np.append(begins, len(groups)))
    hot = sizes[sizes > hot_bucket]
    counts = {"buckets": int((sizes > 1).sum()), "hot_buckets": len(hot), "in_hot_buckets": int(hot.sum())}
    return a, b, counts


def _without_copies(
    document: np.ndarray, group: np.ndarray, twin: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The first document of each twin in each group, sorted by group, then document; and their groups."""
    order = np.lexsort((document, twin, group))
    order = order[tables.starts(group[order], twin[order])]
    document, group = document[order], group[order]
    order = np.lexsort((document, group))
    return document[order], group[order]
