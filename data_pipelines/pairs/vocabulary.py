"""Captions as token ids. Ids of every vocabulary: 0 pads, 1 ends a caption, 2 stands for what is not known.

`CharacterVocabulary` needs nothing but the captions that are learnt from: Chinese ones have a thousand or two
of different characters, and a character says more than a letter does.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Protocol

from data_pipelines.errors import DataError

PAD, END, UNKNOWN = 0, 1, 2
FIRST = 3  # id of the first character
FILE = "characters.json"
REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


class CaptionVocabulary(Protocol):
    """What makes tokens of captions."""

    @property
    def size(self) -> int:
        """All ids are below it."""
        ...

    @property
    def end(self) -> int:
        """The id that ends a caption."""
        ...

    @property
    def hash(self) -> str:
        """Equal of vocabularies that do the same."""
        ...

    def encode(self, text: str) -> list[int]:
        """Ids of a text, without the end."""
        ...

    def decode(self, ids: Iterable[int]) -> str:
        """A text up to its end, without padding."""
        ...

    def file(self) -> tuple[str, bytes]:
        """Its name beside a run's checkpoints, and what is in it."""
        ...


class CharacterVocabulary:
    """One id for each character.

    Args:
      characters: in the order of their ids, from 3 on.

    Raises:
      DataError: one is there twice, or is no single character.
    """

    end = END

    def __init__(self, characters: Sequence[str]):
        if any(len(one) != 1 for one in characters) or len(set(characters)) < len(characters):
            raise DataError("a vocabulary of characters has each once, and nothing else")
        self.characters = tuple(characters)
        self._ids = {character: FIRST + number for number, character in enumerate(characters)}

    @classmethod
    def of_texts(cls, texts: Iterable[str], least_count: int = 2) -> "CharacterVocabulary":
        """Of the characters that occur so often at least; the most used first, then by code point."""
        counts: Counter[str] = Counter()
        for text in texts:
            counts.update(text)
        used = [(-count, character) for character, count in counts.items() if count >= least_count]
        return cls([character for _, character in sorted(used)])

    @classmethod
    def from_file(cls, path: Path) -> "CharacterVocabulary":
        """Of what `file` wrote.

        Raises:
          DataError: there is no such file, or it is no such vocabulary.
        """
        try:
            told = json.loads(path.read_text("utf-8"))
            characters = told["characters"]
            if told["kind"] != "characters" or not isinstance(characters, str):
                raise ValueError
        except OSError as error:
            raise DataError(f"{path}: {error.strerror}") from None
        except (ValueError, KeyError, TypeError, RecursionError):
            raise DataError(f"{path} is no vocabulary of characters: bring it back from its run") from None
        return cls(characters)

    @property
    def size(self) -> int:
        """All ids are below it."""
        return FIRST + len(self.characters)

    @property
    def hash(self) -> str:
        """Of its file."""
        return hashlib.sha256(self.file()[1]).hexdigest()

    def encode(self, text: str) -> list[int]:
        """Ids of a text, without the end."""
        return [self._ids.get(character, UNKNOWN) for character in text]

    def decode(self, ids: Iterable[int]) -> str:
        """A text up to its end, without padding; U+FFFD for what is not known."""
        made = []
        for number in ids:
            if number == END:
                break
            if number != PAD:
                known = FIRST <= number < self.size
                made.append(self.characters[number - FIRST] if known else REPLACEMENT)
        return "".join(made)

    def file(self) -> tuple[str, bytes]:
        """Its name beside a run's checkpoints, and what is in it."""
        told = {"kind": "characters", "characters": "".join(self.characters)}
        return FILE, json.dumps(told, ensure_ascii=False).encode()


def fitted(text: str, vocabulary: CaptionVocabulary, length: int) -> tuple[list[int], bool]:
    """Ids of a caption with its end, at most `length`, and whether something was cut off.

    It is cut between characters, also where a vocabulary makes several tokens of one.
    """
    ids = vocabulary.encode(text)
    if len(ids) < length:
        return [*ids, vocabulary.end], False
    # The longest beginning that fits, by halves.
    least, most = 0, len(text)
    while least < most:
        middle = (least + most + 1) // 2
        if len(vocabulary.encode(text[:middle])) < length:
            least = middle
        else:
            most = middle - 1
    return [*vocabulary.encode(text[:least]), vocabulary.end], True
