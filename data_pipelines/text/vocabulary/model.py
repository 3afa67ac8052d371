"""A vocabulary: texts to ids and back, and where words begin."""

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from data_pipelines.errors import DataError
from data_pipelines.text.vocabulary.special_tokens import (
    EOS,
    MODES,
    PAD,
    SENTINELS,
    UNK,
    Modes,
    SpecialTokens,
    has_t5_ids,
)

# A run of tokens without a boundary is cut after this many: a URL is not a word, and windows need a bound.
LONGEST_WORD = 16


class Vocabulary:
    """A sentencepiece model file and the ids beyond it.

    Attributes:
      size: number of ids, sentinels included: the rows an embedding needs.
      fingerprint: sha256 of the model file, hex; equal fingerprints mean equal ids.
      special: the ids objectives insert.
      has_own_sentinels: whether they are pieces of the model file, as in mT5's.
    """

    def __init__(self, file: str | Path):
        """Loads a model that follows the layout above; `adopt` makes one from any sentencepiece model.

        Raises:
          DataError: the file is missing, is no sentencepiece model, or has other ids for pad, eos and unk.
        """
        import sentencepiece

        self.file = Path(file)
        try:
            proto = self.file.read_bytes()
            self._model = sentencepiece.SentencePieceProcessor(model_proto=proto)
        except OSError as error:
            raise DataError(f"cannot read the vocabulary {self.file}: {error.strerror}") from error
        except RuntimeError as error:
            raise DataError(f"{self.file} is not a sentencepiece model") from error
        if not has_t5_ids(self._model):
            found = (self._model.pad_id(), self._model.eos_id(), self._model.unk_id())
            raise DataError(
                f"{self.file} has pad, eos, unk = {found} instead of T5's {(PAD, EOS, UNK)}: "
                "to train a model anew, pass it as corpus.vocabulary_file, which renumbers it"
            )
        self.fingerprint = hashlib.sha256(proto).hexdigest()
        modes = {mode: self._model.piece_to_id(mode) for mode in MODES}
        if not all(map(self._model.is_control, modes.values())):
            modes = {}
        own = _own_sentinels(self._model)
        self.has_own_sentinels = bool(own)
        if own:
            self._model = _never_read_from_text(proto, own)
        first = own[0] if own else self._model.get_piece_size() + SENTINELS - 1
        self.size = max(self._model.get_piece_size(), first + 1)
        self.special = SpecialTokens(Modes(modes), first, len(own) or SENTINELS)
        self._set_piece_lengths()

    def _set_piece_lengths(self) -> None:
        pieces = [self._model.id_to_piece(i) for i in range(self._model.get_piece_size())]
        self._continues_P = np.zeros(len(pieces), bool)
        self._characters_P = np.array([len(piece) for piece in pieces], np.int32)
        for i, piece in enumerate(pieces):
            if self._model.is_byte(i):
                # UTF-8: a byte 10xxxxxx continues the character that the byte before it belongs to.
                self._continues_P[i] = int(piece[3:5], 16) & 0xC0 == 0x80
                self._characters_P[i] = not self._continues_P[i]

    def encode(self, text: str) -> np.ndarray:
        """int32 [tokens], without eos. Never a mode token or a sentinel."""
        return np.array(self._model.encode(text), np.int32)

    def encode_all(self, texts: Sequence[str]) -> list[np.ndarray]:
        """`encode` for many texts, on two threads."""
        return [np.array(ids, np.int32) for ids in self._model.encode(list(texts), num_threads=2)]

    def is_byte(self, token: int) -> bool:
        """Whether a token is one byte of a character that is no piece."""
        return token < len(self._characters_P) and self._model.is_byte(token)

    def decode(self, tokens: Iterable[int]) -> str:
        """Text of the tokens up to the first eos. Sentinels appear as `<extra_id_0>`; padding does not.

        An id beyond the vocabulary is unknown: embeddings often have more rows than there are ids.
        """
        parts: list[str] = []
        run: list[int] = []
        for token in map(int, tokens):
            if token == EOS:
                break
            if 0 <= self.special.first_sentinel - token < self.special.sentinels:
                parts += [self._model.decode(run), f"<extra_id_{self.special.first_sentinel - token}>"]
                run = []
            elif token != PAD:
                run.append(token if token < len(self._characters_P) else UNK)
        return "".join([*parts, self._model.decode(run)])

    def word_starts(self, text: str, tokens: np.ndarray) -> np.ndarray:
        """bool [tokens]: whether a token begins where a word of `text` begins (jieba's words, by rjieba)."""
        import rjieba

        if not len(tokens):
            return np.zeros(0, bool)
        words = rjieba.cut(text)
        characters = self._characters_P[tokens]
        if int(characters.sum()) == len(text):
            at_boundary = _boundaries(map(len, words))
            starts = at_boundary[np.cumsum(characters) - characters] & ~self._continues_P[tokens]
        else:  # A model that normalises text: ask it where its pieces lie in the original, in bytes.
            at_boundary = _boundaries(len(word.encode()) for word in words)
            pieces = self._model.encode(text, out_type="proto").pieces
            begins = np.array([piece.begin for piece in pieces])
            starts = at_boundary[begins] & (np.diff(begins, prepend=-1) > 0)
        return _with_longest_word(starts)

    def seqio(self):
        """The same ids as a seqio.SentencePieceVocabulary (imports TensorFlow)."""
        import seqio

        extra_ids = 0 if self.has_own_sentinels else SENTINELS
        return seqio.SentencePieceVocabulary(str(self.file), extra_ids=extra_ids)


def _own_sentinels(model) -> range:
    """Ids of the sentinels among the pieces, `<extra_id_0>` first; seqio writes them with a "▁"."""
    for name in ("▁<extra_id_{}>", "<extra_id_{}>"):
        first, count = model.piece_to_id(name.format(0)), 0
        while first != UNK and model.piece_to_id(name.format(count)) == first - count:
            count += 1
        if count:
            return range(first, first - count, -1)
    return range(0)


def _never_read_from_text(proto: bytes, ids: Sequence[int]):
    """The model with these pieces as control symbols, which text is never encoded to."""
    import sentencepiece
    from sentencepiece import sentencepiece_model_pb2

    model = sentencepiece_model_pb2.ModelProto.FromString(proto)
    for i in ids:
        model.pieces[i].type = sentencepiece_model_pb2.ModelProto.SentencePiece.CONTROL
    return sentencepiece.SentencePieceProcessor(model_proto=model.SerializeToString())


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
