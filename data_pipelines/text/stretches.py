"""Stretches of documents: which parts of a text are taken where not all of it is.

Each document has a quota, and gives it in stretches spread over the whole of it, cut at sentence ends. Where
documents are too many for a stretch of each, they give one in turn. All of it is a function of the texts.
"""

import math
import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

_SENTENCE_END = re.compile(r"\n|[。！？!?][”』」）)]*|[.…;；](?=\s)")
_GOLDEN = (5**0.5 - 1) / 2


class Stretch(NamedTuple):
    """Characters [begin, end) of a document, named by its place in a sequence."""

    document: int
    begin: int
    end: int


def quotas(lengths_D: Sequence[int], characters: int) -> np.ndarray:
    """How much of each document a sample of so many characters takes: float64 [D].

    Half of the sample is the same of every document, or all of a shorter one, and half is in proportion to
    what they are longer: many short documents are seen beside a long one, and a long one beside them.
    """
    lengths = np.asarray(lengths_D, np.float64)
    if lengths.sum() <= characters:
        return lengths
    even = np.minimum(lengths, _level(lengths, characters / 2))
    rest = lengths - even
    return even + rest * ((characters - even.sum()) / rest.sum())


def _level(lengths: np.ndarray, characters: float) -> float:
    """The level for which the sum of min(length, level) is `characters`, at most the sum of the lengths."""
    ordered = np.sort(lengths)
    levels = (characters - (np.cumsum(ordered) - ordered)) / np.arange(len(ordered), 0, -1)
    return float(levels[np.argmax(levels <= ordered)])


def spread(texts: Sequence[str], quotas_D: np.ndarray, length: int) -> Iterator[Stretch]:
    """Stretches of at most about `length` characters (2 or more) of each text, together about its quota.

    A text whose quota is below a stretch gives one as often as such quotas add up to it, in turn with others
    of that kind; one of at most two stretches is then taken whole. None is taken without a quota.
    """
    owed = 0.0
    for document, (text, quota) in enumerate(zip(texts, quotas_D.tolist(), strict=True)):
        if quota >= len(text):
            count, size = 1, len(text)
        elif quota >= length:
            count = math.ceil(quota / length)
            size = round(quota / count)
        else:
            owed += quota
            size = length if len(text) > 2 * length else len(text)
            count = int(quota > 0 and 2 * owed >= size)
            owed -= count * size
        yield from _of(document, text, count, size)


def _of(document: int, text: str, count: int, size: int) -> Iterator[Stretch]:
    """`count` stretches of a text, one in each of as many equal parts of it."""
    end = 0
    phase = document * _GOLDEN % 1  # not the same place of every text, which may be its title
    for part in range(count):
        place = min(int((part + phase) * len(text) / count), len(text) - size)
        begin = max(_sentence_end(text, place, size // 2), end)
        end = max(_sentence_end(text, min(begin + size, len(text)), size // 2), end)
        if begin < end:
            yield Stretch(document, begin, end)


def _sentence_end(text: str, place: int, reach: int) -> int:
    """The first end of a sentence or line at `place` or at most `reach` characters after; else `place`."""
    if place <= 0 or place >= len(text):
        return max(min(place, len(text)), 0)
    found = _SENTENCE_END.search(text, place - 1, min(place + reach, len(text)))
    return found.end() if found else place
