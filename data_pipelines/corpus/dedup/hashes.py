"""Hashes of texts: of their letters, their paragraphs and their shingles, for a block of documents at once.

A stretch of letters c_0 .. c_n-1 has the hash sum_i s(c_i) B^i mod 2^64, with B odd and s a fixed random
function. With the running sum H over the block, that of letters [i, j) is (H_j - H_i) B^-i: two
multiplications whatever the length, and the same value wherever the stretch stands. Values depend on the
letters and the seed alone: not on the machine, the library or the order of things. Two natural texts share
one with a chance of 2^-64; texts made to collide exist (Thue-Morse words), so documents have a cryptographic
digest besides.
"""

import functools
import hashlib
import itertools

import numpy as np
import polars as pl

from data_pipelines.corpus import letters

_BASE = 0x9E3779B97F4A7C15
_INVERSE = pow(_BASE, -1, 2**64)
_CACHED = 2**21  # powers kept: a block's; a longer document has its own


def scramble(values: np.ndarray, seed: int = 0) -> np.ndarray:
    """A random-looking one-to-one function: uint64 to uint64 (SplitMix64, Steele et al. 2014)."""
    x = values + np.uint64((seed + 1) * _BASE % 2**64)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


class Block:
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
        scrambled = _scrambled_letters(seed).take(self._letters)
        scrambled *= _powers(_BASE, len(scrambled))
        self._sums = np.zeros(len(scrambled) + 1, np.uint64)
        np.cumsum(scrambled, out=self._sums[1:])

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
        begins, ends = self._paragraph_bounds[:-1], self._paragraph_bounds[1:]
        return (self._sums[ends] - self._sums[begins]) * _powers(_INVERSE, len(self._sums))[begins]

    def shingles(self, length: int) -> np.ndarray:
        """The shingles' hashes, in the documents' `bounds`: uint64 [letters].

        A document has `length` - 1 fewer shingles than letters: its last one is repeated. Where it has none,
        the values mean nothing.
        """
        hashes = np.zeros(len(self._letters), np.uint64)
        count = len(hashes) - length + 1
        if count > 0:
            np.subtract(self._sums[length:], self._sums[:-length], out=hashes[:count])
            hashes[:count] *= _powers(_INVERSE, count)
        ends = self.bounds[1:][self.lengths >= length]
        for behind in range(1, length):
            hashes[ends - behind] = hashes[ends - length]
        return hashes

    def digests(self) -> np.ndarray:
        """BLAKE2b of each document's letters, of its text where it has none: uint64 [documents, 2]."""
        view = memoryview(self._letters.astype("<u4", copy=False)).cast("B")
        bounds = (4 * self.bounds).tolist()
        found = [
            hashlib.blake2b(view[begin:end], digest_size=16).digest()
            if end > begin
            else hashlib.blake2b(self._texts[i].encode(), digest_size=16, person=b"text").digest()
            for i, (begin, end) in enumerate(itertools.pairwise(bounds))
        ]
        return np.frombuffer(b"".join(found), "<u8").reshape(-1, 2)


@functools.lru_cache(2)
def _scrambled_letters(seed: int) -> np.ndarray:
    return scramble(np.arange(letters.END, dtype=np.uint64), seed)


def _powers(base: int, count: int) -> np.ndarray:
    """base^0, base^1, ... mod 2^64: uint64 [count]."""
    return _cached_powers(base)[:count] if count <= _CACHED else _computed_powers(base, count)


@functools.cache
def _cached_powers(base: int) -> np.ndarray:
    return _computed_powers(base, _CACHED)


def _computed_powers(base: int, count: int) -> np.ndarray:
    factors = np.full(count, base, np.uint64)
    factors[:1] = 1
    return np.multiply.accumulate(factors)
