"""Hashes of any span of a text in constant time, from one pass over its characters.

A polynomial hash over 64-bit integers: H(c_0 .. c_k) = sum s(c_i) B^i mod 2^64, with scrambled characters
s(c) and an odd B, which has an inverse. With prefix sums P, the span [i, j) has the hash (P[j] - P[i]) B^-i.
(Polynomials modulo 2^64 collide on Thue-Morse strings of more than a thousand characters, and otherwise as
seldom as random numbers.)
"""

import functools

import numpy as np

_BASE = 0x9E3779B97F4A7C15
_INVERSE = pow(_BASE, -1, 2**64)


class Spans:
    """Hashes of spans of `codes` (uint32 [characters]). They depend on the characters and the seed alone."""

    def __init__(self, codes: np.ndarray, seed: int = 0):
        self._inverses = _powers(_INVERSE, _capacity(len(codes)))
        self._prefix = np.zeros(len(codes) + 1, np.uint64)
        # NumPy takes by intp twice as fast as by what it must convert to that.
        terms = _scrambled(seed).take(codes.astype(np.intp), mode="clip")
        terms *= _powers(_BASE, _capacity(len(codes)))[: len(codes)]
        np.cumsum(terms, out=self._prefix[1:])

    def __call__(self, begins: np.ndarray, ends: np.ndarray) -> np.ndarray:
        """uint64 hashes of the spans [begin, end)."""
        hashes = self._prefix.take(ends)
        hashes -= self._prefix.take(begins)
        hashes *= self._inverses.take(begins)
        return hashes

    def at(self, places: np.ndarray) -> "Spans":
        """Spans that begin and end at some of these places only, and are given by their numbers there."""
        spans = Spans.__new__(Spans)
        spans._prefix = self._prefix.take(places)
        spans._inverses = self._inverses.take(places, mode="clip")
        return spans

    def every(self, length: int) -> np.ndarray:
        """uint64: the hash of the `length` characters from each one on, as many as there are."""
        count = max(len(self._prefix) - length, 0)
        hashes = self._prefix[length:] - self._prefix[:count]
        hashes *= self._inverses[:count]
        return hashes


def span_hash(text_codes: np.ndarray) -> int:
    """The hash `Spans` gives a span with these characters."""
    return int(Spans(text_codes)(np.array([0]), np.array([len(text_codes)]))[0])


def mixed(values: np.ndarray, seed: int = 0) -> np.ndarray:
    """uint64, every bit dependent on every bit of `values`, one-to-one: SplitMix64 (Steele et al. 2014)."""
    values = values.astype(np.uint64) + np.uint64((seed + 1) * _BASE % 2**64)
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


@functools.lru_cache(maxsize=2)
def _scrambled(seed: int) -> np.ndarray:
    """uint64 [0x110000]: s(c) of every code point."""
    return mixed(np.arange(0x110000, dtype=np.uint64), seed)


def _capacity(length: int) -> int:
    """A power of two, so that few tables of powers are ever made."""
    return 1 << max(16, length.bit_length())


@functools.lru_cache(maxsize=4)
def _powers(base: int, count: int) -> np.ndarray:
    powers = np.full(count, base, np.uint64)
    powers[0] = 1
    return np.multiply.accumulate(powers)
