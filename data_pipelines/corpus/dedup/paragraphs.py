"""Paragraphs that are elsewhere in the corpus already."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from data_pipelines.corpus.dedup import tables
from data_pipelines.corpus.dedup.clusters import CLUSTERS
from data_pipelines.corpus.dedup.signatures import PARAGRAPHS

REPEATS = "repeats.arrow"


def find_repeats(part: int, signed: Sequence[Path], clustered: Path, *, out: Path) -> dict:
    """Writes repeats.arrow (document uint64; paragraph uint32), sorted: paragraphs to leave out.

    A paragraph stays where it occurs first among the documents that stay. That is why this comes after
    `cluster`: were the first in a document that goes, the paragraph would be lost.

    Args:
      part: which part of the paragraphs' hashes.
      signed: folders that `sign` filled, in the order of chunks, at least one.
      clustered: the folder that `cluster` filled.
    """
    paths = [folder / PARAGRAPHS for folder in signed]
    repeated = tables.repeated(paths, part, "hash")
    seen = np.zeros(len(repeated), bool)
    repeats = []
    for path in paths:
        rows = tables.select(path, part, "hash", repeated, ("paragraph",))
        clusters = tables.of_chunk(clustered / CLUSTERS, tables.chunk(path))
        again = ~np.isin(rows["document"], clusters["document"][~clusters["keep"]])
        # Rows are in the order of documents and their paragraphs.
        groups, firsts = np.unique(rows["group"][again], return_index=True)
        again[np.flatnonzero(again)[firsts[~seen[groups]]]] = False
        seen[groups] = True
        repeats.append({name: rows[name][again] for name in ("document", "paragraph")})
    found = tables.concatenate(repeats)
    tables.write(out / REPEATS, found)
    return {"counts": {"repeated_paragraphs": len(found["document"])}}
