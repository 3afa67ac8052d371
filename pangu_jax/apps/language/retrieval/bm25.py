"""BM25 over segmented words: Robertson & Zaragoza 2009, with Lucene's IDF, by bm25s."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pangu_jax.apps.language.retrieval.folding import folded
from pangu_jax.errors import UserError


def words(text: str) -> list[str]:
    """Words of a text for searching, in one form: jieba's, and the shorter ones inside them."""
    import rjieba

    found = rjieba.cut_for_search(folded(text))
    return [word for word in found if any(map(str.isalnum, word))]


class BM25:
    """An index of words."""

    def __init__(self, index):
        self._index = index

    @classmethod
    def build(cls, texts: Sequence[str]) -> "BM25":
        """Indexes the texts.

        Raises:
          UserError: no text holds a word.
        """
        corpus = [words(text) for text in texts]
        if not any(corpus):
            raise UserError("the knowledge holds no words to search by")
        index = _bm25s().BM25()
        index.index(corpus, show_progress=False)
        return cls(index)

    @classmethod
    def load(cls, directory: Path) -> "BM25":
        """What `save` wrote: arrays as .npy, read without pickle, and the vocabulary as JSON."""
        return cls(_bm25s().BM25.load(directory, allow_pickle=False, show_progress=False))

    def save(self, directory: Path) -> None:
        """Writes the index into a directory."""
        self._index.save(directory, allow_pickle=False, show_progress=False)

    def scores(self, question: str) -> np.ndarray:
        """fp32 [texts]: BM25 of each; 0 where no word is shared."""
        known = [word for word in words(question) if word in self._index.vocab_dict]
        if not known:
            return np.zeros(self._index.scores["num_docs"], np.float32)
        return np.asarray(self._index.get_scores(known), np.float32)

    def search(self, question: str, count: int) -> list[tuple[int, float]]:
        """(text's number, score) of at most `count` texts that share a word, best first."""
        scores = self.scores(question)
        best = np.argsort(-scores, kind="stable")[:count]
        return [(int(i), float(scores[i])) for i in best if scores[i] > 0]


def _bm25s():
    try:
        import bm25s
    except ImportError:
        raise UserError("retrieval by words needs bm25s: pip install 'pangu-jax[knowledge]'") from None
    return bm25s
