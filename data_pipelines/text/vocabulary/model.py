"""A vocabulary: texts to ids and back, and where words begin."""

import functools
import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from data_pipelines.errors import DataError
from data_pipelines.text.vocabulary import byte_vocabulary
from data_pipelines.text.vocabulary.added_tokens import Additions, Splitter, TextPart, split_file
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
      additions: what the model file has beyond sentencepiece's; None for most.
      proto: the model file without it.
    """

    def __init__(self, file: str | Path, content: bytes | None = None):
        """Loads a model that follows the layout above; `adopt` makes one from any sentencepiece model.

        Args:
          file: where it is, or with `content` is named for messages.
          content: the file's, where it is not written yet.
        Raises:
          DataError: the file is missing, is no sentencepiece model, or has other ids for pad, eos and unk.
        """
        import sentencepiece

        self.file = Path(file)
        try:
            content = self.file.read_bytes() if content is None else content
            self.proto, self.additions = split_file(content)
            self._model = sentencepiece.SentencePieceProcessor(model_proto=self.proto)
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
        self.fingerprint = hashlib.sha256(content).hexdigest()
        modes = {mode: self._model.piece_to_id(mode) for mode in MODES}
        if not all(map(self._model.is_control, modes.values())):
            modes = {}
        own = _own_sentinels(self._model)
        self.has_own_sentinels = bool(own)
        if own:
            self._model = _never_read_from_text(self.proto, own)
        first, count = self._model.get_piece_size() + SENTINELS - 1, SENTINELS
        if own:
            first, count = own[0], len(own)
        elif self.additions:
            first, count = self.additions.first_sentinel, self.additions.sentinels
        added = self.additions.tokens if self.additions else ()
        self._added = {token.id: token.text for token in added}
        self._split = Splitter(self.additions) if self.additions and added else None
        self._readable = self._model.get_piece_size()  # ids below are pieces that have a text
        if self.additions and self.additions.byte_ids:
            self._readable = byte_vocabulary.IDS
        self.size = max(self.pieces, first + 1, *(id + 1 for id in self._added), 0)
        self.special = SpecialTokens(Modes(modes), first, count)
        self._set_piece_lengths()

    @property
    def pieces(self) -> int:
        """Number of ids before those of sentinels and tokens that are not in the model file."""
        own = self.additions.byte_ids if self.additions else 0
        return own or self._model.get_piece_size()

    def piece(self, id: int) -> str:
        """The piece of an id below `pieces`, as sentencepiece writes it."""
        return self._model.id_to_piece(id)

    @functools.cached_property
    def _split_prompt(self) -> Splitter:
        sentinels = {f"<extra_id_{i}>": self.special.sentinel(i) for i in range(self.special.sentinels)}
        return Splitter(self.additions or Additions(0, 0), sentinels)

    @functools.cached_property
    def _within(self):
        """The model for a stretch that no text begins with: without a space before it."""
        return _without_dummy_prefix(self._model)

    def _model_of(self, part: TextPart):
        # White space is a space before a word as much as the beginning of a text is.
        return self._model if part.begins or part.text[0].isspace() else self._within

    def _encoded(self, parts: Iterable[TextPart]) -> np.ndarray:
        ids = [[p.id] if p.id is not None else self._model_of(p).encode(p.text) for p in parts]
        return np.concatenate([np.zeros(0, np.int32), *ids]).astype(np.int32)

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
        if self._split:
            return self._encoded(self._split(text))
        return np.array(self._model.encode(text), np.int32)

    def encode_prompt(self, text: str) -> np.ndarray:
        """As `encode`, with `<extra_id_0>` and so on read as sentinels: for questions, never for a corpus."""
        return self._encoded(self._split_prompt(text))

    def encode_all(self, texts: Sequence[str]) -> list[np.ndarray]:
        """`encode` for many texts, on two threads."""
        if self._split:
            return [self.encode(text) for text in texts]
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
            elif token in self._added:
                parts += [self._model.decode(run), self._added[token]]
                run = []
            elif token != PAD:
                run.append(token if token < self._readable else UNK)
        return "".join([*parts, self._model.decode(run)])

    def word_starts(self, text: str, tokens: np.ndarray) -> np.ndarray:
        """bool [tokens]: whether a token begins where a word of `text` begins (jieba's words, by rjieba)."""
        if not self._split:
            return self._word_starts(text, tokens, self._model)
        starts = [np.zeros(0, bool)]
        for part in self._split(text):
            if part.id is not None:
                starts.append(np.ones(1, bool))
            else:
                model = self._model_of(part)
                starts.append(self._word_starts(part.text, np.array(model.encode(part.text), int), model))
        return np.concatenate(starts)

    def _word_starts(self, text: str, tokens: np.ndarray, model) -> np.ndarray:
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
            pieces = model.encode(text, out_type="proto").pieces
            begins = np.array([piece.begin for piece in pieces])
            starts = at_boundary[begins] & (np.diff(begins, prepend=-1) > 0)
        return _with_longest_word(starts)

    def seqio(self):
        """The same ids as a seqio.SentencePieceVocabulary (imports TensorFlow).

        Raises:
          DataError: it cannot have them, because it splits no added tokens off.
        """
        import seqio

        if self._added:
            raise DataError(
                f"{self.file} has added tokens, which seqio would read as pieces: train by the token cache "
                "(`pangu train`), which splits them off"
            )
        extra_ids = 0 if self.has_own_sentinels else self.special.first_sentinel + 1
        extra_ids = max(extra_ids - self._model.get_piece_size(), 0)
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


def _without_dummy_prefix(model):
    import sentencepiece
    from sentencepiece import sentencepiece_model_pb2

    proto = sentencepiece_model_pb2.ModelProto.FromString(model.serialized_model_proto())
    if not proto.normalizer_spec.add_dummy_prefix:
        return model
    proto.normalizer_spec.add_dummy_prefix = False
    return sentencepiece.SentencePieceProcessor(model_proto=proto.SerializeToString())


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
