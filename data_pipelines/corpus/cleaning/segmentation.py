"""The words of a batch, by jieba's segmentation (rjieba).

Words are known by where they begin in the text without white space. Their strings are never kept: what rules
ask is how long a word is, and whether a sequence of words occurs again (`spans.Spans`).
"""

import functools

import numpy as np
import rjieba

from data_pipelines.corpus.cleaning import characters
from data_pipelines.corpus.cleaning.sums import ratio, sums
from data_pipelines.corpus.spans import Spans

# Between words on their way into NumPy.
_SEPARATOR = "\0"


class Words:
    """The words of a batch's documents. White space is none, and is between words or in none.

    Attributes:
      codes: uint32, the code points of the batch without white space.
      bounds: int64 [words + 1]: word w is codes[bounds[w] : bounds[w + 1]].
      first: int64 [documents + 1]: the words of document d are first[d] .. first[d + 1] - 1.
    """

    def __init__(self, texts: list[str], codes: np.ndarray, starts: np.ndarray, classes: np.ndarray):
        """What a batch has under these names."""
        ends = [segment(text) for text in texts]
        count = np.array([len(own) for own in ends], np.int64)
        for own, start in zip(ends, starts.tolist(), strict=False):
            own += start
        ends = np.concatenate([np.zeros(0, np.int64), *ends])
        space = (classes & characters.SPACE) != 0
        bounds = np.zeros(len(ends) + 1, np.int64)
        bounds[1:] = np.cumsum(~space, dtype=np.int32)[ends - 1]
        real = bounds[1:] != bounds[:-1]
        self.codes = codes[~space]
        self._classes = classes[~space]
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
