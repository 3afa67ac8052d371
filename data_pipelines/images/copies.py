"""Copies: pictures that are the same, to the byte or to the eye, whatever their size and compression.

To the eye: the difference hash (Krawetz, 2013), 64 bits that say of a picture of 9 x 8 grey pixels which
neighbour is the lighter one. Two pictures whose hashes differ in few bits look the same.
"""

import hashlib

import numpy as np

from data_pipelines.images.augment import luma, resized

BITS = 64
NEAR = 3  # bits that near copies differ in at most
# A picture of one colour, or of a plain gradient, looks like every other one: its hash says nothing.
LEAST_DETAIL = 8  # bits that are set, and that are not


def digest(data: bytes) -> str:
    """Of a file's bytes: equal of exact copies."""
    return hashlib.sha256(data).hexdigest()


def difference_hash(pixels_HxWxC: np.ndarray) -> int:
    """Of uint8 pixels: an integer of 64 bits."""
    small_8x9 = resized(luma(pixels_HxWxC), 8, 9, "bilinear")[..., 0].astype(np.int16)
    bits = (small_8x9[:, 1:] > small_8x9[:, :-1]).ravel()
    return int(np.packbits(bits).view(">u8")[0])


def near_copies(one_N: np.ndarray, other_M: np.ndarray, bits: int = NEAR) -> np.ndarray:
    """Pairs (place in one, place in the other), int64 [P, 2], whose hashes differ in at most `bits`.

    Of `bits` + 1 parts of a hash one at least is the same: only pairs that share one are compared.

    Args:
      one_N: uint64.
      other_M: uint64.
      bits: how many may differ.
    """
    one, other = _with_detail(one_N), _with_detail(other_M)
    if not len(one) or not len(other):
        return np.empty((0, 2), np.int64)
    found = [
        _sharing(one_N, one, other_M, other, part, bits) for part in np.array_split(np.arange(BITS), bits + 1)
    ]
    return np.unique(np.concatenate(found), axis=0)


def _with_detail(hashes: np.ndarray) -> np.ndarray:
    """Places of hashes that say something."""
    count = np.bitwise_count(hashes)
    return np.flatnonzero((count >= LEAST_DETAIL) & (count <= BITS - LEAST_DETAIL))


def _sharing(one_N, one, other_M, other, part, bits) -> np.ndarray:
    """Of the pairs that have the bits `part` in common those that are near."""
    mask = np.uint64(sum(1 << int(bit) for bit in part))
    keys = other_M[other] & mask
    order = np.argsort(keys, kind="stable")
    keys, places = keys[order], other[order]
    wanted = one_N[one] & mask
    first, last = np.searchsorted(keys, wanted, "left"), np.searchsorted(keys, wanted, "right")
    counts = last - first
    mine = np.repeat(one, counts)
    within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    theirs = places[np.repeat(first, counts) + within]
    near = np.bitwise_count(one_N[mine] ^ other_M[theirs]) <= bits
    return np.stack([mine[near], theirs[near]], -1)
