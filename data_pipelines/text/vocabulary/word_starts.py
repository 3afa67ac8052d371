"""Where words begin among the tokens of a text: jieba's words, by rjieba."""

from collections.abc import Iterable

import numpy as np

from data_pipelines.text.vocabulary import jieba_words

# A run of tokens without a boundary is cut after this many: a URL is not a word, and windows need a bound.
LONGEST_WORD = 16


class WordStarts:
    """How long the pieces of a sentencepiece model are, and so which of them begin words."""

    def __init__(self, model):
        pieces = [model.id_to_piece(i) for i in range(model.get_piece_size())]
        self._continues_P = np.zeros(len(pieces), bool)
        self._characters_P = np.array([len(piece) for piece in pieces], np.int32)
        for i, piece in enumerate(pieces):
            if model.is_byte(i):
                # UTF-8: a byte 10xxxxxx continues the character that the byte before it belongs to.
                self._continues_P[i] = int(piece[3:5], 16) & 0xC0 == 0x80
                self._characters_P[i] = not self._continues_P[i]

    def __call__(self, text: str, tokens: np.ndarray, model) -> np.ndarray:
        """bool [tokens]: whether a token begins where a word of `text` begins; tokens are `model`'s of it."""
        import rjieba

        if not len(tokens):
            return np.zeros(0, bool)
        words = rjieba.cut(text)
        characters = self._characters_P[tokens]
        if int(characters.sum()) == len(text):
            at_boundary = _boundaries(map(len, words))
            starts = at_boundary[np.cumsum(characters) - characters] & ~self._continues_P[tokens]
            return _with_longest_word(starts)
        # A model that normalises text: ask it where its pieces lie in the original.
        return _by_bytes(text, (len(word.encode()) for word in words), model)


def of_joined(text: str, model) -> np.ndarray:
    """As `WordStarts`, for a model that reads a text as `jieba_words.joined` has it."""
    return _by_bytes(jieba_words.joined(text), jieba_words.lengths(text), model)


def _by_bytes(text: str, lengths: Iterable[int], model) -> np.ndarray:
    """By where the model says that its pieces lie in a text; `lengths` of the text's words, in bytes."""
    pieces = model.encode(text, out_type="proto").pieces
    if not len(pieces):
        return np.zeros(0, bool)
    begins = np.array([piece.begin for piece in pieces])
    return _with_longest_word(_boundaries(lengths)[begins] & (np.diff(begins, prepend=-1) > 0))


def _boundaries(lengths: Iterable[int]) -> np.ndarray:
    """bool [sum(lengths) + 1]: whether a word begins or ends there."""
    ends = np.cumsum([0, *lengths])
    at_boundary = np.zeros(ends[-1] + 1, bool)
    at_boundary[ends] = True
    return at_boundary


def _with_longest_word(starts: np.ndarray) -> np.ndarray:
    starts[0] = True
    positions = np.arange(len(starts))
    since_start = positions - np.maximum.accumulate(np.where(starts, positions, 0))
    return starts | (since_start % LONGEST_WORD == 0)
