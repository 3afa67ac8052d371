"""What a vocabulary asks of its pieces: texts to ids and back, whatever makes the pieces."""

from collections.abc import Collection, Iterable, Sequence
from typing import Protocol

import numpy as np


class PieceModel(Protocol):
    """The pieces of texts: `SentencePieces` or `ByteLevelPieces`.

    Attributes:
      size: ids are below it.
      unknown: what is read of text that is no piece; below 0 where every text has pieces.
    """

    size: int
    unknown: int

    def never_reading(self, ids: Collection[int]) -> "PieceModel":
        """The same pieces, with these among them that no text is encoded to."""
        ...

    def encode(self, text: str, begins: bool = True) -> list[int]:
        """Ids; `begins`: whether it is the beginning of a text, or goes on in one."""
        ...

    def encode_all(self, texts: Sequence[str]) -> Iterable[list[int]]:
        """`encode` of each, by several threads."""
        ...

    def decode(self, ids: Sequence[int]) -> str:
        """Text; U+FFFD where bytes are no character, or not yet."""
        ...

    def word_starts(self, text: str, tokens: np.ndarray, begins: bool = True) -> np.ndarray:
        """bool [tokens]: whether a token of a text, encoded with `begins`, begins where a word does."""
        ...

    def piece(self, id: int) -> str:
        """As the model's file writes it."""
        ...

    def is_byte(self, id: int) -> bool:
        """Whether it is one byte of a character."""
        ...
