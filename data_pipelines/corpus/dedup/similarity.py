"""The exact similarity of candidates: their texts are brought together, then compared.

Candidates are anywhere in the corpus. So that no chunk is read more than once, each chunk first hands out
the texts that are wanted (`gather`), by the part they are wanted for; then a part has all it needs
(`verify`).
"""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import scipy.sparse

from data_pipelines.corpus import frames
from data_pipelines.corpus.dedup import tables
from data_pipelines.corpus.dedup.candidates import PAIRS, WANTED
from data_pipelines.corpus.dedup.hashes import TextBlock
from data_pipelines.corpus.dedup.settings import Dedup

TEXTS = "texts.arrow"
EDGES = "edges.arrow"

_GROUP_BYTES = 2**22  # of text compared at a time


def gather(documents: Path, number: int, joined: Sequence[Path], *, out: Path) -> dict:
    """Writes texts.arrow (document uint64; size uint32, in bytes; text): a chunk's wanted texts, by part.

    Args:
      documents: a file of `frames`.
      number: the chunk's.
      joined: folders that `join` filled, in the order of parts.
    """
    wanted = tables.concatenate([tables.of_chunk(folder / WANTED, number) for folder in joined])
    numbers, part = tables.distinct(wanted["document"], wanted["part"])
    texts = pl.Series("text", [], pl.String)
    if len(numbers):
        rows = numbers & np.uint64(2**32 - 1)
        texts = frames.read(documents, ["text"])["text"].gather(rows)
    sizes = texts.str.len_bytes().to_numpy()
    columns = {"document": numbers, "size": sizes, "text": texts.to_arrow().cast(pa.large_string())}
    tables.write(out / TEXTS, columns, part, len(joined), number)
    return {"counts": {"texts_gathered": len(texts), "bytes_gathered": int(sizes.sum())}}


def verify(
    part: int, joined: Sequence[Path], gathered: Sequence[Path], settings: Dedup, *, out: Path
) -> dict:
    """Writes edges.arrow (a, b uint64; similarity float32): pairs of a part that are similar enough.

    Memory: about 100 bytes per pair and, for what is compared at a time, about 100 bytes per letter: that is
    `_GROUP_BYTES` of text, or the longest pair.

    Args:
      joined: folders that `join` filled.
      gathered: folders that `gather` filled, in the order of chunks.
    """
    pairs = tables.read_all([folder / PAIRS for folder in joined], part)
    a, b = tables.distinct(pairs["a"], pairs["b"])
    paths = [folder / TEXTS for folder in gathered]
    texts = tables.read_all(paths, part, ("document", "size"))
    size_a, size_b = (texts["size"][texts["document"].searchsorted(one)].astype(np.int64) for one in (a, b))
    files = {tables.chunk(path): path for path in paths}
    similarities = np.zeros(len(a))
    for group in _groups(size_a + size_b):
        documents, index = np.unique(np.concatenate([a[group], b[group]]), return_inverse=True)
        sets = shingle_sets(_texts(files, part, documents), settings)
        similarities[group] = jaccard(sets, *np.split(index, 2))
    similar = similarities >= settings.threshold
    columns = {"a": a[similar], "b": b[similar], "similarity": similarities[similar].astype(np.float32)}
    tables.write(out / EDGES, columns)
    counts, edges = np.histogram(similarities, np.linspace(0, 1, 21))
    return {
        "counts": {"candidates": len(a), "near_duplicate_pairs": int(similar.sum())},
        "histograms": {"similarity": {"edges": edges.round(2).tolist(), "counts": counts.tolist()}},
    }


def _groups(sizes: np.ndarray) -> Iterator[slice]:
    """Runs of pairs with at most a group's bytes, or of one pair."""
    ends = sizes.cumsum()
    begin = 0
    while begin < len(ends):
        before = int(ends[begin - 1]) if begin else 0
        end = max(begin + 1, int(ends.searchsorted(before + _GROUP_BYTES, "right")))
        yield slice(begin, end)
        begin = end


def _texts(files: Mapping[int, Path], part: int, documents: np.ndarray) -> pl.Series:
    """The gathered texts of `documents`, which are sorted and distinct."""
    chunks, firsts = np.unique(documents >> np.uint64(32), return_index=True)
    pieces = []
    for chunk, mine in zip(chunks.tolist(), np.split(documents, firsts[1:]), strict=True):
        rows = tables.batch(files[chunk], part)
        pieces.append(rows["text"].take(pa.array(rows["document"].to_numpy().searchsorted(mine))))
    texts = pl.from_arrow(pa.chunked_array(pieces))
    assert isinstance(texts, pl.Series)  # as of any array of Arrow; a table gives a DataFrame
    return texts


def shingle_sets(texts: pl.Series, settings: Dedup) -> scipy.sparse.csr_array:
    """The set of each text's shingles as a row of ones: sparse uint8 [texts, 2^62].

    The columns are 62 bits of the shingles' hashes. Every text has at least one shingle.
    """
    block = TextBlock(texts, settings.seed)
    hashes = block.shingles(settings.shingle) >> np.uint64(2)
    bounds = block.bounds
    for begin, end in itertools.pairwise(bounds.tolist()):
        hashes[begin:end].sort()
    new = tables.starts(hashes)
    new[bounds[:-1]] = True
    kept = hashes.compress(new).view(np.int64)
    indptr = np.append(0, new.cumsum())[bounds]
    return scipy.sparse.csr_array((np.ones(len(kept), np.uint8), kept, indptr), shape=(len(texts), 2**62))


def jaccard(sets: scipy.sparse.csr_array, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Jaccard similarity of the rows a[i] and b[i] of `sets`, for every i: float64."""
    sizes = np.diff(sets.indptr)
    shared = np.diff(sets[a].multiply(sets[b]).indptr)
    return shared / (sizes[a] + sizes[b] - shared)
