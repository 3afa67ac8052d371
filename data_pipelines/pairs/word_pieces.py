"""Vocabularies that come with models of other libraries: BERT's word pieces, and SigLIP's.

BERT's (Devlin et al., arXiv 1810.04805): Chinese characters one by one, other words by the longest pieces of
a list; a text begins with [CLS] and ends with [SEP]. SigLIP's (Zhai et al., arXiv 2303.15343): a
sentencepiece model of texts in lower case without ASCII punctuation.
"""

import functools
import hashlib
import json
import string
from collections.abc import Iterable, Sequence
from pathlib import Path

from data_pipelines.errors import DataError
from data_pipelines.pairs.vocabulary import PAD, REPLACEMENT

WORD_PIECES, SIGLIP = "word_pieces.json", "spiece.model"
SPECIAL = {"pad": "[PAD]", "unknown": "[UNK]", "first": "[CLS]", "end": "[SEP]"}
INSIDE = "##"  # what a piece inside a word begins with
LONGEST = 100  # characters of a word that is looked up; longer ones are unknown


class WordPieceVocabulary:
    """BERT's word pieces.

    Args:
      pieces: in the order of their ids; [PAD] is the first.
      lower: whether texts are put in lower case, without accents, as most such vocabularies want it.

    Attributes:
      end: id of [SEP].

    Raises:
      DataError: one is there twice, or a special one is missing.
    """

    def __init__(self, pieces: Sequence[str], lower: bool = True):
        self.pieces, self.lower = tuple(pieces), lower
        self._ids = {piece: number for number, piece in enumerate(pieces)}
        if len(self._ids) < len(self.pieces):
            raise DataError("a vocabulary of word pieces has each once")
        if missing := [piece for piece in SPECIAL.values() if piece not in self._ids]:
            raise DataError(f"a vocabulary of word pieces has {missing[0]}, and this one has not")
        if self._ids[SPECIAL["pad"]] != PAD:
            raise DataError(f"{SPECIAL['pad']} has id {self._ids[SPECIAL['pad']]} instead of {PAD}")
        self.end, self._first = self._ids[SPECIAL["end"]], self._ids[SPECIAL["first"]]

    @classmethod
    def from_file(cls, path: Path) -> "WordPieceVocabulary":
        """Of what `file` wrote.

        Raises:
          DataError: there is no such file, or it is no such vocabulary.
        """
        try:
            told = json.loads(path.read_text("utf-8"))
            pieces, lower = told["pieces"], told["lower"]
            if told["kind"] != "word pieces" or type(lower) is not bool or not _strings(pieces):
                raise ValueError
        except OSError as error:
            raise DataError(f"{path}: {error.strerror}") from None
        except (ValueError, KeyError, TypeError, RecursionError):
            raise DataError(f"{path} is no vocabulary of word pieces: bring it back from its run") from None
        return cls(pieces, lower)

    @property
    def size(self) -> int:
        """All ids are below it."""
        return len(self.pieces)

    @property
    def hash(self) -> str:
        """Of its file."""
        return hashlib.sha256(self.file()[1]).hexdigest()

    @functools.cached_property
    def _tokenizer(self):
        try:
            from tokenizers.implementations import BertWordPieceTokenizer
        except ImportError:
            raise DataError("word pieces need tokenizers: pip install 'pangu-jax[hf]'") from None
        return BertWordPieceTokenizer(
            dict(self._ids), lowercase=self.lower, unk_token=SPECIAL["unknown"], wordpieces_prefix=INSIDE
        )

    def encode(self, text: str) -> list[int]:
        """Ids of [CLS] and of a text, without the end. A special piece's name in a text is a text.

        Raises:
          DataError: the library is missing.
        """
        return [self._first, *self._tokenizer.encode(_defused(text), add_special_tokens=False).ids]

    def decode(self, ids: Iterable[int]) -> str:
        """A text up to its end, without padding and [CLS]; a space between words of letters or digits."""
        made = ""
        for number in ids:
            if number == self.end:
                break
            if number in (PAD, self._first):
                continue
            piece = self.pieces[number] if 0 < number < self.size else SPECIAL["unknown"]
            piece = REPLACEMENT if piece == SPECIAL["unknown"] else piece
            if piece.startswith(INSIDE) and len(piece) > len(INSIDE):
                made += piece[len(INSIDE) :]
            else:
                apart = made and _is_latin(made[-1]) and _is_latin(piece[0])
                made += f" {piece}" if apart else piece
        return made

    def file(self) -> tuple[str, bytes]:
        """Its name beside a run's checkpoints, and what is in it."""
        told = {"kind": "word pieces", "lower": self.lower, "pieces": self.pieces}
        return WORD_PIECES, json.dumps(told, ensure_ascii=False).encode()


class SiglipVocabulary:
    """SigLIP's sentencepiece model.

    Args:
      content: of the model's file.

    Attributes:
      end: id of </s>.

    Raises:
      DataError: it is no such model, or has another id for padding than 0.
    """

    def __init__(self, content: bytes):
        import sentencepiece

        try:
            self._model = sentencepiece.SentencePieceProcessor(model_proto=content)
        except RuntimeError:
            raise DataError(f"{SIGLIP} is no sentencepiece model: copy it again") from None
        self._content, self.end = content, self._model.piece_to_id("</s>")
        if self.end == self._model.unk_id() or self._model.pad_id() not in (-1, PAD):
            raise DataError(f"{SIGLIP} has no </s>, or {self._model.pad_id()} for padding instead of {PAD}")

    @classmethod
    def from_file(cls, path: Path) -> "SiglipVocabulary":
        """Of what `file` wrote.

        Raises:
          DataError: there is no such file, or it is no such vocabulary.
        """
        try:
            return cls(path.read_bytes())
        except OSError as error:
            raise DataError(f"{path}: {error.strerror}") from None

    @property
    def size(self) -> int:
        """All ids are below it."""
        return self._model.get_piece_size()

    @property
    def hash(self) -> str:
        """Of its file."""
        return hashlib.sha256(self._content).hexdigest()

    def encode(self, text: str) -> list[int]:
        """Ids of a text, without the end."""
        bare = text.lower().translate(str.maketrans("", "", string.punctuation))
        return self._model.encode(" ".join(bare.split()))

    def decode(self, ids: Iterable[int]) -> str:
        """A text up to its end, without padding."""
        kept: list[int] = []
        for number in map(int, ids):
            if number == self.end:
                break
            if number != PAD:
                kept.append(number if 0 < number < self.size else self._model.unk_id())
        return self._model.decode(kept)

    def file(self) -> tuple[str, bytes]:
        """Its name beside a run's checkpoints, and what is in it."""
        return SIGLIP, self._content


def _strings(pieces: object) -> bool:
    return isinstance(pieces, list) and all(isinstance(piece, str) and piece for piece in pieces)


def _defused(text: str) -> str:
    """A text in which no special piece is read as such: the library would split them off."""
    for piece in (*SPECIAL.values(), "[MASK]"):
        text = text.replace(piece, f"[ {piece[1:-1]} ]")
    return text


def _is_latin(character: str) -> bool:
    return character.isascii() and character.isalnum()
