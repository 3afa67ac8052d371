"""Where words begin among the tokens of a text: jieba's words, by rjieba."""

from collections.abc import Iterable

import numpy as np

# A run of tokens without a boundary is cut after this many: a URL is not a word, and windows need a bound.
LONGEST_WORD = 16


class WordStarts:
    """By how long pieces are.

    Args:
      characters_P: int32, of each piece; a character is the piece's that its first byte is in.
      continues_P: bool, whether a piece begins inside a character.
    """

    def __init__(self, characters_P: np.ndarray, continues_P: np.ndarray):
        self._characters_P, self._continues_P = characters_P, continues_P

    def __call__(self, text: str, tokens: np.ndarray) -> np.ndarray | None:
        """bool [tokens]: whether a token begins where a word of `text` begins.

        None where the tokens are of so many characters that the text was changed before it was cut.
        """
        if not len(tokens):
            return np.zeros(0, bool)
        characters = self._characters_P[tokens]
        if int(characters.sum()) != len(text):
            return None
        at_boundary = _boundaries(map(len, _words(text)))
        starts = at_boundary[np.cumsum(characters) - characters] & ~self._continues_P[tokens]
        return _with_longest_word(starts)


def by_bytes(text: str, lengths: Iterable[int], model) -> np.ndarray:
    """By where a sentencepiece model says that its pieces lie in a text; `lengths` of the text's words, in
    bytes."""
    pieces = model.encode(text, out_type="proto").pieces
    if not len(pieces):
        return np.zeros(0, bool)
    begins = np.array([piece.begin for piece in pieces])
    return _with_longest_word(_boundaries(lengths)[begins] & (np.diff(begins, prepend=-1) > 0))


def lengths(text: str) -> list[int]:
    """Of a text's words, in bytes of UTF-8."""
    return [len(word.encode()) for word in _words(text)]


def _words(text: str) -> list[str]:
    import rjieba

    return rjieba.cut(text)


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
