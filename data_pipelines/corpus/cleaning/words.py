"""The words of a batch, by jieba's segmentation (rjieba), and filters by words.

Words are told by where they begin in the text without white space. Their strings are never kept: what rules
ask is how long a word is, and whether a sequence of words occurs again (`spans.Spans`).
"""

import dataclasses
import functools

import numpy as np
import rjieba

from data_pipelines.corpus.cleaning import characters
from data_pipelines.corpus.cleaning.batch import Batch, ratio, sums
from data_pipelines.corpus.cleaning.rules import Filter, Verdict, configurable
from data_pipelines.corpus.spans import Spans, span_hash

# Between words on their way into NumPy.
_SEPARATOR = "\0"


class Words:
    """The words of a batch's documents. White space is none, and stands between words or in none.

    Attributes:
      codes: uint32, the code points of the batch without white space.
      bounds: int64 [words + 1]: word w is codes[bounds[w] : bounds[w + 1]].
      first: int64 [documents + 1]: the words of document d are first[d] .. first[d + 1] - 1.
    """

    def __init__(self, batch: Batch):
        ends = [segment(text) for text in batch.strings]
        count = np.array([len(own) for own in ends], np.int64)
        for own, start in zip(ends, batch.starts.tolist(), strict=False):
            own += start
        ends = np.concatenate([np.zeros(0, np.int64), *ends])
        space = (batch.classes & characters.SPACE) != 0
        bounds = np.zeros(len(ends) + 1, np.int64)
        bounds[1:] = np.cumsum(~space, dtype=np.int32)[ends - 1]
        real = bounds[1:] != bounds[:-1]
        self.codes = batch.codes[~space]
        self._classes = batch.classes[~space]
        self.bounds = np.concatenate(([0], bounds[1:][real]))
        self.first = np.concatenate(([0], np.cumsum(sums(real, np.concatenate(([0], np.cumsum(count)))))))
        # By n, what `repetition.repeats` has found.
        self.repeats = {}

    def __len__(self) -> int:
        return len(self.bounds) - 1

    @property
    def count(self) -> np.ndarray:
        """int64 [documents]."""
        return np.diff(self.first)

    @functools.cached_property
    def documents(self) -> np.ndarray:
        """int64 [words]."""
        return np.repeat(np.arange(len(self.first) - 1), self.count)

    @functools.cached_property
    def spans(self) -> Spans:
        """Hashes of sequences of words: from the first to the one behind the last."""
        return Spans(self.codes).at(self.bounds)

    @functools.cached_property
    def lengths(self) -> np.ndarray:
        """int64 [words], characters."""
        return np.diff(self.bounds)

    @functools.cached_property
    def classes(self) -> np.ndarray:
        """uint16 [words]: the classes that any character of the word is of."""
        return np.bitwise_or.reduceat(self._classes, self.bounds[:-1]) if len(self) else self._classes

    def share(self, words: np.ndarray) -> np.ndarray:
        """float64 [documents]: share of the words in `words`, bool [words]."""
        return ratio(sums(words, self.first), self.count)


def segment(text: str) -> np.ndarray:
    """int64: where each word of a text ends. White space is in words too: the last ends the text."""
    words = rjieba.cut(text)
    # Joined and searched by vector instructions: half the time of len() on every word.
    codes = characters.code_points(_SEPARATOR.join(words) + _SEPARATOR[: len(words)])
    ends = np.flatnonzero(codes == 0)
    if len(ends) != len(words):
        return np.cumsum([len(word) for word in words], dtype=np.int64)
    ends -= np.arange(len(ends))
    return ends


@configurable
@dataclasses.dataclass(frozen=True)
class NewLines(Filter):
    """Rejects documents, lists mostly, with more than `most` newlines a word. Measures newlines a word.

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
