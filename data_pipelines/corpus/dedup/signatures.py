"""What of a chunk the joins need to know: hashes of its documents, bands and paragraphs."""

from itertools import chain
from pathlib import Path

import numpy as np
import polars as pl
import rensa

from data_pipelines.corpus import frames, letters
from data_pipelines.corpus.dedup import tables
from data_pipelines.corpus.dedup.hashes import TextBlock
from data_pipelines.corpus.dedup.settings import Dedup
from data_pipelines.corpus.spans import mixed

DIGESTS = "digests.arrow"
BANDS = "bands.arrow"
PARAGRAPHS = "paragraphs.arrow"


def sign(documents: Path, number: int, parts: int, settings: Dedup, *, out: Path) -> dict:
    """Writes a chunk's hashes, each file in `parts` parts by hash.

    digests.arrow (high, low uint64; row uint32): every document. bands.arrow (hash uint64; row, twin
    uint32): `bands` rows for a document that has a shingle; twin is the same for exact copies, and for
    others by a chance of 2^-32. paragraphs.arrow (hash uint64; row, paragraph uint32): paragraphs long
    enough to count.

    Memory: the chunk, and about 60 bytes per letter of its longest document.

    Args:
      documents: a file of `frames`.
      number: the chunk's.
    """
    texts = frames.read(documents, ["text"])["text"]
    digests, bands, paragraphs = [_NO_DIGESTS], [_NO_BANDS], [_NO_PARAGRAPHS]
    counts = {"paragraphs": 0, "too_short_for_near_duplicates": 0}
    for first, block_texts in letters.blocks(texts):
        block = TextBlock(block_texts, settings.seed)
        rows = np.arange(first, first + len(block_texts), dtype=np.uint32)
        digest = block.digests()
        digests.append({"high": digest[:, 0], "low": digest[:, 1], "row": rows})
        paragraphs.append(_long_paragraphs(block, rows, settings.min_paragraph_characters))
        counts["paragraphs"] += int(block.paragraphs.sum())
        long = block.lengths >= settings.shingle
        counts["too_short_for_near_duplicates"] += int((~long).sum())
        twins = (digest[long, 1] & np.uint64(2**32 - 1)).astype(np.uint32)
        bands.append(
            {
                "hash": band_hashes(minhash(block, settings)[long], settings).reshape(-1),
                "row": rows[long].repeat(settings.bands),
                "twin": twins.repeat(settings.bands),
            }
        )
    for name, key, found in (
        (DIGESTS, "high", digests),
        (BANDS, "hash", bands),
        (PARAGRAPHS, "hash", paragraphs),
    ):
        table = tables.concatenate(found)
        tables.write(out / name, table, tables.part_of(table[key], parts), parts, number)
        counts[name.removesuffix(".arrow")] = len(table[key])
    return {"documents_in": len(texts), "bytes_in": _bytes(texts), "counts": counts}


def minhash(block: TextBlock, settings: Dedup) -> np.ndarray:
    """MinHash signatures (Dahlgaard et al. 2017, arXiv 1704.04370): uint32 [documents, bands * rows]."""
    size = settings.bands * settings.rows
    matrix = rensa.RMinHash.digest_matrix_from_flat_token_hashes(
        block.shingles(settings.shingle), block.bounds.astype(np.uint64), size, settings.seed
    )
    values = chain.from_iterable(matrix.to_rows())
    return np.fromiter(values, np.uint32, matrix.len() * size).reshape(-1, size)


def band_hashes(signatures: np.ndarray, settings: Dedup) -> np.ndarray:
    """uint64 [documents, bands]; two bands never share a bucket but by accident."""
    values = signatures.reshape(-1, settings.bands, settings.rows).astype(np.uint64)
    hashes = np.arange(settings.bands, dtype=np.uint64)
    for row in range(settings.rows):
        hashes = mixed(hashes ^ values[:, :, row])
    return hashes


def _long_paragraphs(block: TextBlock, rows: np.ndarray, shortest: int) -> tables.Columns:
    if not shortest:
        return _NO_PARAGRAPHS
    long = block.paragraph_lengths >= shortest
    firsts = (block.paragraphs.cumsum() - block.paragraphs).repeat(block.paragraphs)
    index = np.arange(len(firsts)) - firsts
    return {
        "hash": mixed(block.paragraph_hashes()[long]),
        "row": rows.repeat(block.paragraphs)[long],
        "paragraph": index[long].astype(np.uint32),
    }


def _bytes(texts: pl.Series) -> int:
    return int(texts.str.len_bytes().sum())


def _no(**columns: type) -> tables.Columns:
    return {name: np.zeros(0, kind) for name, kind in columns.items()}


_NO_DIGESTS = _no(high=np.uint64, low=np.uint64, row=np.uint32)
_NO_BANDS = _no(hash=np.uint64, row=np.uint32, twin=np.uint32)
_NO_PARAGRAPHS = _no(hash=np.uint64, row=np.uint32, paragraph=np.uint32)
