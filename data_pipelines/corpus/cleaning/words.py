"""Filters by words."""

import dataclasses
import functools

import numpy as np

from data_pipelines.corpus.cleaning import characters
from data_pipelines.corpus.cleaning.batch import Batch
from data_pipelines.corpus.cleaning.rules import Filter, Verdict, configurable
from data_pipelines.corpus.cleaning.segmentation import Words
from data_pipelines.corpus.cleaning.sums import ratio, sums
from data_pipelines.corpus.spans import span_hash


@configurable
@dataclasses.dataclass(frozen=True)
class NewLines(Filter):
    """Rejects documents, lists mostly, with more than `most` newlines per word. Measures newlines per word.

    FineWeb's rule, with FineWeb-2's threshold for Chinese.
    """

    most: float = 0.178
    name: str = "new_lines"
    costly = True

    def judge(self, batch: Batch) -> Verdict:
        value = ratio(batch.sums(batch.codes == ord("\n")), batch.words.count)
        return Verdict(value <= self.most, value)


@configurable
@dataclasses.dataclass(frozen=True)
class WordLength(Filter):
    """Rejects documents whose words have less than `least` or more than `most` characters on average.

    Measures the mean over words that hold a letter or digit. Gopher's rule, FineWeb-2's thresholds for
    Chinese.
    """

    least: float = 1.0
    most: float = 5.0
    name: str = "word_length"
    costly = True

    def judge(self, batch: Batch) -> Verdict:
        words = batch.words
        real = (words.classes & characters.ALNUM) != 0
        mean = ratio(sums(words.lengths * real, words.first), sums(real, words.first))
        return Verdict((self.least <= mean) & (mean <= self.most), mean)


@configurable
@dataclasses.dataclass(frozen=True)
class WordsWithLetters(Filter):
    """Rejects documents of whose words less than `least` hold a letter (Han is one). Measures the share.

    Gopher's rule, FineWeb-2's threshold for Chinese. Punctuation marks are words too.
    """

    least: float = 0.735
    name: str = "words_with_letters"
    costly = True

    def judge(self, batch: Batch) -> Verdict:
        share = batch.words.share((batch.words.classes & characters.ALPHA) != 0)
        return Verdict(share >= self.least, share)


# FineWeb-2's for cmn_Hani.
_BEGINNING = 300  # words
STOP_WORDS = tuple("的年在月是和日了於·為有被人中为他與後也而由")


@configurable
@dataclasses.dataclass(frozen=True)
class StopWords(Filter):
    """Rejects documents that hold less than `least` of the words that Chinese text cannot do without.

    Measures how many of them it holds, of documents that hold enough only how many are among their first
    words. Gopher's rule, FineWeb-2's words for Chinese.
    """

    least: int = 2
    words: tuple[str, ...] = STOP_WORDS
    name: str = "stop_words"
    costly = True

    def judge(self, batch: Batch) -> Verdict:
        words = batch.words
        # The beginnings of nearly all documents hold enough.
        ends = np.minimum(words.first[:-1] + _BEGINNING, words.first[1:])
        distinct = self._distinct(words, words.first[:-1], ends)
        few = np.flatnonzero((distinct < self.least) & batch.alive)
        distinct[few] = self._distinct(words, words.first[few], words.first[few + 1])
        return Verdict(distinct >= self.least, distinct)

    def _distinct(self, words: Words, begins: np.ndarray, ends: np.ndarray) -> np.ndarray:
        """float64 [stretches]: how many of the stop words are among the words from begin to end."""
        hashes, starting, longest = _stop_words(self.words)
        counts = ends - begins
        stretch = np.repeat(np.arange(len(counts)), counts)
        asked = np.arange(len(stretch)) + np.repeat(begins - np.cumsum(counts) + counts, counts)
        near = starting[words.codes[words.bounds[asked]]] & (words.lengths[asked] <= longest)
        asked, stretch = asked[near], stretch[near]
        own = words.spans(asked, asked + 1)
        place = np.searchsorted(hashes, own) % max(len(hashes), 1)
        hit = hashes[place] == own
        found = np.zeros((len(counts), len(hashes)), bool)
        found[stretch[hit], place[hit]] = True
        return found.sum(1).astype(np.float64)


@functools.lru_cache(maxsize=4)
def _stop_words(words: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray, int]:
    """(their hashes, ascending; bool [0x110000], whether one begins so; characters of the longest)"""
    codes = [characters.code_points(word) for word in sorted(set(words) - {""})]
    starting = np.zeros(characters.POINTS, bool)
    starting[[own[0] for own in codes]] = True
    return (
        np.sort(np.array(list(map(span_hash, codes)), np.uint64)),
        starting,
        max(map(len, codes), default=0),
    )
