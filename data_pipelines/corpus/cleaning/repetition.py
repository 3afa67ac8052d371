"""Filters by repeated sequences of words: Gopher's (arXiv 2112.11446, table A1).

An n-gram is repeated in a document only if the (n-1)-gram it begins with is. So all places are sorted once,
for n = 2, and for every further n only those that are left.
"""

import dataclasses
import itertools
from typing import NamedTuple

import numpy as np

from data_pipelines.corpus.cleaning.batch import Batch
from data_pipelines.corpus.cleaning.rules import Filter, Verdict, configurable
from data_pipelines.corpus.cleaning.segmentation import Words
from data_pipelines.corpus.cleaning.sums import ratio


class Repeats(NamedTuple):
    """The n-grams that occur more than once in a document.

    places: int64 [occurrences], the word each begins with; by n-gram, ascending within one.
    opens: bool [occurrences], whether it is the first of its n-gram.
    """

    places: np.ndarray
    opens: np.ndarray


def repeats(words: Words, n: int) -> Repeats:
    """The repeated n-grams of all documents. Words end to end make an n-gram, wherever they divide."""
    if n not in words.repeats:
        near = np.ones(len(words), bool)
        if n > 2:
            near[:] = False
            near[repeats(words, n - 1).places] = True
        # None begins in a document's last n - 1 words.
        for last in range(1, n):
            near[words.first[1:][words.count >= last] - last] = False
        words.repeats[n] = _repeated(words, np.flatnonzero(near), n)
    return words.repeats[n]


def _repeated(words: Words, places: np.ndarray, n: int) -> Repeats:
    """Those of `places`, ascending, whose n-gram begins at another of the document's too."""
    hashes = words.spans(places, places + n)
    edges = np.searchsorted(places, words.first)
    # Upper bits of the hash and the place in one integer: sorting those takes a third of sorting an index.
    low = np.uint64((1 << max(len(places) - 1, 1).bit_length()) - 1)
    packed = hashes & ~low
    packed |= np.arange(len(places), dtype=np.uint64)
    for begin, end in itertools.pairwise(edges.tolist()):
        packed[begin:end].sort()
    order = (packed & low).astype(np.int64)
    # Whether a place's n-gram is that of the place before; one more, that the last too has one behind it.
    same = np.zeros(len(places) + 1, bool)
    same[1:-1] = (packed[1:] ^ packed[:-1]) <= low
    same[edges] = False
    again = np.flatnonzero(same)
    if (hashes[order[again]] != hashes[order[again - 1]]).any():
        # Two n-grams of a document share the upper bits: rare, and then their places may alternate.
        order = np.lexsort((hashes, np.repeat(np.arange(len(edges) - 1), np.diff(edges))))
        same[1:-1] = hashes[order[1:]] == hashes[order[:-1]]
        same[edges] = False
    member = np.flatnonzero(same[1:] | same[:-1])
    return Repeats(places[order[member]], ~same[member])


@configurable
@dataclasses.dataclass(frozen=True)
class TopNgram(Filter):
    """Rejects documents of whose characters more than `most` are in the most frequent n-gram of words.

    Measures its occurrences times its characters, with a space between words, as a share of the text's, as
    datatrove does, with which the thresholds were found. Of equally frequent ones the first counts. FineWeb-2
    has for Chinese 0.256, 0.201, 0.171 with n of 2, 3, 4.
    """

    n: int = 2
    most: float = 0.256
    costly = True

    @property
    def name(self) -> str:
        return f"top_{self.n}_gram"

    def judge(self, batch: Batch) -> Verdict:
        words = batch.words
        found = repeats(words, self.n)
        heads = np.flatnonzero(found.opens)
        counts = np.diff(np.append(heads, len(found.places)))
        first = found.places[heads]
        # The n-gram by its count, and by its first place where counts are equal, in one integer.
        best = np.zeros(len(batch), np.int64)
        np.maximum.at(best, words.documents[first], counts * (len(words) + 1) + len(words) - first)
        # Without a repeated one, all are equally frequent.
        count, place = np.divmod(best, len(words) + 1)
        place = np.where(best > 0, len(words) - place, words.first[:-1])
        count = np.where(best > 0, count, words.count >= self.n)
        place = np.where(count > 0, place, 0)
        characters = words.bounds[place + np.where(count > 0, self.n, 0)] - words.bounds[place] + self.n - 1
        value = ratio(count * characters, batch.lengths)
        return Verdict(value <= self.most, value)


@configurable
@dataclasses.dataclass(frozen=True)
class DuplicateNgrams(Filter):
    """Rejects documents of whose characters more than `most` are in n-grams of words that they had before.

    Measures, as datatrove does: reading on, an n-gram that was read before counts with its characters and is
    passed over as a whole. For documents that cannot exceed `most`, the characters in any n-gram that occurs
    before, which are no less. FineWeb-2 has for Chinese 0.198, 0.182, 0.167, 0.154, 0.140, 0.127 with n of 5
    to 10.
    """

    n: int = 5
    most: float = 0.198
    costly = True

    @property
    def name(self) -> str:
        return f"duplicate_{self.n}_grams"

    def judge(self, batch: Batch) -> Verdict:
        words = batch.words
        found = repeats(words, self.n)
        again = np.sort(found.places[~found.opens])
        ends = words.bounds[again + self.n]
        begins = words.bounds[again]
        begins[1:] = np.maximum(begins[1:], ends[:-1])
        value = ratio(np.bincount(words.documents[again], ends - begins, minlength=len(batch)), batch.lengths)
        doubtful = np.flatnonzero((value > self.most) & batch.alive)
        if len(doubtful):
            order = np.argsort(found.places)
            places = found.places[order]
            ngrams = np.cumsum(found.opens)[order]
            begins, ends = np.searchsorted(places, words.first[[doubtful, doubtful + 1]])
            for document, begin, end in zip(doubtful, begins, ends, strict=True):
                seen = _read(places[begin:end], ngrams[begin:end], self.n)
                lengths = words.bounds[seen + self.n] - words.bounds[seen]
                value[document] = lengths.sum() / batch.lengths[document]
        return Verdict(value <= self.most, value)


def _read(places: np.ndarray, ngrams: np.ndarray, n: int) -> np.ndarray:
    """int64: where a reader meets an n-gram again, and passes over it. A loop over repeats alone."""
    seen, passed, reach = set(), [], 0
    for place, ngram in zip(places.tolist(), ngrams.tolist(), strict=True):
        if place < reach:
            continue
        if ngram in seen:
            passed.append(place)
            reach = place + n
        else:
            seen.add(ngram)
    return np.array(passed, np.int64)


TOP = {2: 0.256, 3: 0.201, 4: 0.171}
DUPLICATE = {5: 0.198, 6: 0.182, 7: 0.167, 8: 0.154, 9: 0.140, 10: 0.127}


@configurable
def repetition_rules(
    top: dict[int, float] | None = None, duplicate: dict[int, float] | None = None
) -> tuple[Filter, ...]:
    """`TopNgram` and `DuplicateNgrams` for every n; None has FineWeb-2's thresholds for Chinese."""
    top = TOP if top is None else top
    duplicate = DUPLICATE if duplicate is None else duplicate
    return (
        *(TopNgram(n, most) for n, most in sorted(top.items())),
        *(DuplicateNgrams(n, most) for n, most in sorted(duplicate.items())),
    )
