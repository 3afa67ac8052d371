"""Takes the duplicates out of a chunk."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from data_pipelines.corpus.dedup import tables
from data_pipelines.corpus.dedup.clusters import CLUSTERS
from data_pipelines.corpus.dedup.paragraphs import REPEATS

CLUSTER_SIZE = "cluster_size"
EXACT_COPY = "exact_copy"
NEAR_DUPLICATE = "near_duplicate"
REPEATED_PARAGRAPHS = "repeated_paragraphs"
RULES = (EXACT_COPY, NEAR_DUPLICATE, REPEATED_PARAGRAPHS)

_ROW = np.uint64(2**32 - 1)


def apply(
    frame: pl.DataFrame, number: int, clustered: Path, repeats: Sequence[Path]
) -> tuple[pl.DataFrame, dict]:
    """A chunk without duplicates; of the sorted files only its own rows are read.

    A document that loses paragraphs keeps its others, at most one empty line between them; one that has no
    letter left goes.

    Args:
      frame: the chunk that `sign` read.
      number: the chunk's.
      clustered: the folder that `cluster` filled.
      repeats: folders that `find_repeats` filled.

    Returns:
      the chunk, with a column `cluster_size` (uint32, documents this one represents); and its statistics.
    """
    clusters = tables.of_chunk(clustered / CLUSTERS, number)
    rows = (clusters["document"] & _ROW).astype(np.int64)
    sizes = np.ones(len(frame), np.uint32)
    sizes[rows] = clusters["size"]
    rules = np.zeros(len(frame), np.int8)  # 0: stays
    rules[rows] = np.where(clusters["keep"], 0, np.where(clusters["exact"], 1, 2))
    found = tables.concatenate([tables.of_chunk(folder / REPEATS, number) for folder in repeats])
    removed = len(found["document"])
    texts = _without(frame["text"], (found["document"] & _ROW).astype(np.int64), found["paragraph"])
    rules[texts.is_null().to_numpy()] = 3
    kept = frame.with_columns(texts, pl.Series(CLUSTER_SIZE, sizes)).filter(pl.Series(rules == 0))
    statistics = _statistics(frame["source"], _bytes(frame["text"]), _bytes(texts), rules)
    return kept, statistics | {"counts": {"repeated_paragraphs_removed": removed}}


def _bytes(texts: pl.Series) -> np.ndarray:
    return texts.str.len_bytes().fill_null(0).to_numpy().astype(np.int64)


def _without(texts: pl.Series, rows: np.ndarray, paragraphs: np.ndarray) -> pl.Series:
    """Texts without `paragraphs` (by index) of `rows`; null where no letter remains."""
    touched, place = np.unique(rows, return_inverse=True)
    if not len(touched):
        return texts
    lines = texts.gather(touched).str.split("\n")
    counts = lines.list.len().to_numpy().astype(np.int64)
    keep = np.ones(counts.sum(), bool)
    keep[(counts.cumsum() - counts)[place] + paragraphs] = False
    rest = pl.DataFrame({"row": touched.repeat(counts), "text": lines.explode()}).filter(pl.Series(keep))
    joined = rest.group_by("row", maintain_order=True).agg(pl.col("text").str.join("\n"))
    joined = joined.with_columns(pl.col("text").str.replace_all(r"\n{3,}", "\n\n").str.strip_chars("\n"))
    joined = joined.filter(pl.col("text").str.contains(r"[\p{L}\p{N}]"))
    new = pl.DataFrame({"row": touched}).join(joined, on="row", how="left", maintain_order="left")["text"]
    return texts.scatter(touched, new)


def _statistics(
    sources: pl.Series, before: np.ndarray, after: np.ndarray, rules: np.ndarray
) -> dict[str, Any]:
    """The funnel, whole and by source; bytes of a text before and after, rules as in `apply`."""

    def funnel(mine: np.ndarray) -> dict[str, Any]:
        stays = mine & (rules == 0)
        rejected = {
            rule: [int((mine & (rules == code)).sum()), int(before[mine & (rules == code)].sum())]
            for code, rule in enumerate(RULES, 1)
        }
        rejected[REPEATED_PARAGRAPHS][1] += int((before - after)[stays].sum())
        return {
            "documents_in": int(mine.sum()),
            "documents_out": int(stays.sum()),
            "bytes_in": int(before[mine].sum()),
            "bytes_out": int(after[stays].sum()),
            "rejected": rejected,
        }

    names = sources.to_numpy()
    whole = funnel(np.ones(len(rules), bool))
    del whole["rejected"]
    return whole | {"sources": {name: funnel(names == name) for name in sources.unique().sort()}}
