"""Hashes of texts: of their letters, their paragraphs and their shingles, for a block of documents at once.

Paragraphs and shingles are spans of letters (`spans.py`). Texts made to collide exist there: documents have
a cryptographic digest besides.
"""

import hashlib
import itertools

import numpy as np
import polars as pl

from data_pipelines.corpus import letters
from data_pipelines.corpus.spans import Spans


class TextBlock:
    """Some documents' letters, in one array.

    Args:
      texts: strings, at least one, without nulls.
      seed: of the hashes.

    Attributes:
      bounds: int64 [documents + 1], where documents begin and end among the letters.
      paragraphs: int64 [documents], how many lines each has.
    """

    def __init__(self, texts: pl.Series, seed: int):
        lines = texts.str.split("\n")
        self._texts = texts
        self.paragraphs = lines.list.len().to_numpy().astype(np.int64)
        stream = letters.stream(lines.explode())
        is_letter = stream != letters.END
        self._letters = stream.compress(is_letter)
        ends = np.flatnonzero(~is_letter)
        self._paragraph_bounds = np.append(0, ends - np.arange(len(ends)))
        self.bounds = self._paragraph_bounds[np.append(0, self.paragraphs.cumsum())]
        self._spans = Spans(self._letters, seed)

    @property
    def lengths(self) -> np.ndarray:
        """Letters of each document: int64 [documents]."""
        return np.diff(self.bounds)

    @property
    def paragraph_lengths(self) -> np.ndarray:
        """Letters of each paragraph of each document: int64 [all paragraphs]."""
        return np.diff(self._paragraph_bounds)

    def paragraph_hashes(self) -> np.ndarray:
        """uint64 [all paragraphs]."""
        return self._spans(self._paragraph_bounds[:-1], self._paragraph_bounds[1:])

    def shingles(self, length: int) -> np.ndarray:
        """The shingles' hashes, in the documents' `bounds`: uint64 [letters].

        A document has `length` - 1 fewer shingles than letters: its last one is repeated. Where it has none,
        the values mean nothing.
        """
        hashes = np.zeros(len(self._letters), np.uint64)
        every = self._spans.every(length)
        hashes[: len(every)] = every
        ends = self.bounds[1:][self.lengths >= length]
        for behind in range(1, length):
            hashes[ends - behind] = hashes[ends - length]
        return hashes

    def digests(self) -> np.ndarray:
        """BLAKE2b of each document's letters, of its text where it has none: uint64 [documents, 2]."""
        view = self._letters.astype("<u4", copy=False).data.cast("B")
        bounds = (4 * self.bounds).tolist()
        found = [
            hashlib.blake2b(view[begin:end], digest_size=16).digest()
            if end > begin
            else hashlib.blake2b(self._texts[i].encode(), digest_size=16, person=b"text").digest()
            for i, (begin, end) in enumerate(itertools.pairwise(bounds))
        ]
        return np.frombuffer(b"".join(found), "<u8").reshape(-1, 2)
