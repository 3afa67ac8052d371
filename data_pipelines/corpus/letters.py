"""The letters of a text: what is left of it in NFKC and lower case without spaces and punctuation.

Two texts with the same letters say the same. The rule is that of `text.documents.Document.digest`, here
for many texts at once: a look-up in a table of code points. Where a letter's form depends on its neighbours
(accents that stand alone, Hangul in pieces, the final sigma) the text goes Unicode's slower way.
"""

import functools
import hashlib
import re
import unicodedata
from collections.abc import Iterator

import numpy as np
import polars as pl

# Values of a stream that are no code points.
END = 0x110000
_DEPENDS = END + 1

_NOT_TEXT = re.compile(r"[\W_]+")
_BETWEEN = "\uffff"  # no character, and so never a letter
_STRETCH = 2**8  # code points looked at together
_BLOCK_BYTES = 2**20  # of UTF-8: what is made of it stays in the processor's cache


def of(text: str) -> str:
    """The letters of one text."""
    return _NOT_TEXT.sub("", unicodedata.normalize("NFKC", text)).lower()


@functools.cache
def table() -> np.ndarray:
    """uint32 [0x110000]: a code point's letter, 0 where it has none, `_DEPENDS` where neighbours decide."""
    letters = np.zeros(0x110000, np.uint32)
    joining = _joining()
    # Above plane 3 nothing is a letter.
    for first in range(0, 0x40000, _STRETCH):
        points = [chr(point) for point in range(first, first + _STRETCH) if not 0xD800 <= point < 0xE000]
        together = "".join(points)
        same = unicodedata.normalize("NFKC", together) == together == together.lower()
        if same and joining.isdisjoint(together):
            # Most stretches, Han and Hangul above all, are such ones: their letters are what is left.
            own = np.frombuffer(_NOT_TEXT.sub("", together).encode("utf-32-le"), np.uint32)
            letters[own] = own
            continue
        for point in points:
            form = unicodedata.normalize("NFKC", point)
            folded = _NOT_TEXT.sub("", form).lower()
            if len(folded) > 1 or not joining.isdisjoint(form):
                letters[ord(point)] = _DEPENDS
            elif folded:
                letters[ord(point)] = ord(folded)
    letters[ord(_BETWEEN)] = END
    return letters


def _joining() -> frozenset[str]:
    """What may unite with the code point before it under NFKC, and the sigma: its lower case depends on its
    place in a word."""
    parts = (unicodedata.decomposition(chr(point)).split() for point in range(0x40000))
    seconds = {chr(int(two[1], 16)) for two in parts if len(two) == 2 and not two[0].startswith("<")}
    hangul = map(chr, (*range(0x1161, 0x1176), *range(0x11A8, 0x11C3)))
    return frozenset({*seconds, *hangul, "Σ"})


def stream(texts: pl.Series) -> np.ndarray:
    """The letters of all texts one after the other, `END` behind each: uint32 [letters + texts].

    Args:
      texts: strings without nulls.
    """
    joined = texts.str.join(_BETWEEN).item() + _BETWEEN if len(texts) else ""
    if joined.count(_BETWEEN) != len(texts):
        texts = texts.str.replace_all(_BETWEEN, "\n", literal=True)
        joined = texts.str.join(_BETWEEN).item() + _BETWEEN
    points = np.frombuffer(joined.encode("utf-32-le"), np.uint32)
    folded = table().take(points)
    letters = folded.compress(folded != 0)
    return _with_neighbours(texts, letters) if (letters == _DEPENDS).any() else letters


def _with_neighbours(texts: pl.Series, letters: np.ndarray) -> np.ndarray:
    """The stream again, with the letters of the texts that hold a `_DEPENDS` by `of`."""
    ends = np.flatnonzero(letters == END)
    rows = np.unique(np.searchsorted(ends, np.flatnonzero(letters == _DEPENDS)))
    parts, done = [], 0
    for row in rows.tolist():
        begin = ends[row - 1] + 1 if row else 0
        own = np.frombuffer(of(texts[row]).encode("utf-32-le"), np.uint32)
        parts += [letters[done:begin], own]
        done = ends[row]
    return np.concatenate([*parts, letters[done:]])


def blocks(texts: pl.Series) -> Iterator[tuple[int, pl.Series]]:
    """(first row, texts) in runs of at least a block's bytes."""
    sizes = texts.str.len_bytes().to_numpy().cumsum(dtype=np.int64)
    begin = 0
    while begin < len(texts):
        before = sizes[begin - 1] if begin else 0
        end = min(int(np.searchsorted(sizes, before + _BLOCK_BYTES)) + 1, len(texts))
        yield begin, texts[begin:end]
        begin = end


def strings(texts: pl.Series) -> Iterator[str]:
    """`of` for each text."""
    for _, block in blocks(texts):
        letters = stream(block)
        letters = np.where(letters == END, np.uint32(ord(_BETWEEN)), letters)
        yield from letters.tobytes().decode("utf-32-le").split(_BETWEEN)[:-1]


def places(texts: pl.Series) -> np.ndarray:
    """Each text's place in [0, 1) by its digest: float64 [texts], as `text.documents.split` has it.

    1 where there is no letter.
    """
    digests = (
        hashlib.blake2b(own.encode(), digest_size=16).hexdigest() if own else "" for own in strings(texts)
    )
    return np.array([int(digest, 16) / 16**32 if digest else 1.0 for digest in digests])
