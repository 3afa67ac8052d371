"""The pieces of a sentencepiece model."""

import functools
from collections.abc import Collection, Iterable, Sequence

import numpy as np

from data_pipelines.errors import DataError
from data_pipelines.text.vocabulary import jieba_words, word_starts
from data_pipelines.text.vocabulary.special_tokens import EOS, MODES, PAD, UNK, has_t5_ids
from data_pipelines.text.vocabulary.word_starts import WordStarts


class SentencePieces:
    """A `PieceModel` by sentencepiece.

    Args:
      proto: the model file.
      name: of the file, for messages.
      words: how text is cut before sentencepiece sees it: "jieba" (`jieba_words`), or not at all.

    Raises:
      DataError: it is no sentencepiece model, or cuts text in a way that is not known here.
    """

    def __init__(self, proto: bytes, name: str, words: str = ""):
        import sentencepiece

        self._proto, self._name, self._words = proto, name, words
        try:
            self._model = sentencepiece.SentencePieceProcessor(model_proto=proto)
        except RuntimeError as error:
            raise DataError(f"{name} is not a sentencepiece model") from error
        if words not in ("", jieba_words.NAME):
            raise DataError(f"{name} cuts text by {words!r}, which is not known here")
        self._cut = bool(words)
        self.size: int = self._model.get_piece_size()
        self.unknown: int = self._model.unk_id()

    def never_reading(self, ids: Collection[int]) -> "SentencePieces":
        """With these pieces as control symbols."""
        from sentencepiece import sentencepiece_model_pb2

        model = sentencepiece_model_pb2.ModelProto.FromString(self._proto)
        for i in ids:
            model.pieces[i].type = sentencepiece_model_pb2.ModelProto.SentencePiece.CONTROL
        return SentencePieces(model.SerializeToString(), self._name, self._words)

    def require_t5_ids(self) -> None:
        """DataError unless pad, eos and unk are T5's."""
        if not has_t5_ids(self._model):
            found = (self._model.pad_id(), self._model.eos_id(), self._model.unk_id())
            raise DataError(
                f"{self._name} has pad, eos, unk = {found} instead of T5's {(PAD, EOS, UNK)}: "
                "to train a model anew, pass it as corpus.vocabulary_file, which renumbers it"
            )

    def modes(self) -> dict[str, int]:
        """Mode token -> id; empty where there are none."""
        modes = {mode: self._model.piece_to_id(mode) for mode in MODES}
        return modes if all(map(self._model.is_control, modes.values())) else {}

    def sentinels(self) -> range:
        """Ids of the sentinels among the pieces, `<extra_id_0>` first; seqio writes them with a "▁"."""
        for name in ("▁<extra_id_{}>", "<extra_id_{}>"):
            first, count = self._model.piece_to_id(name.format(0)), 0
            while first != UNK and self._model.piece_to_id(name.format(count)) == first - count:
                count += 1
            if count:
                return range(first, first - count, -1)
        return range(0)

    @functools.cached_property
    def _within(self):
        """The model for a stretch that no text begins with: without a space before it."""
        return _without_dummy_prefix(self._model)

    def _model_of(self, text: str, begins: bool):
        # White space is a space before a word as much as the beginning of a text is. Jieba's words have one.
        return self._model if begins or self._cut or text[:1].isspace() else self._within

    def _read(self, text: str) -> str:
        """What sentencepiece reads of a text."""
        return jieba_words.joined(text) if self._cut else text

    def encode(self, text: str, begins: bool = True) -> list[int]:
        """See `PieceModel`."""
        return self._model_of(text, begins).encode(self._read(text))

    def encode_all(self, texts: Sequence[str]) -> Iterable[list[int]]:
        """On two threads."""
        return self._model.encode([self._read(text) for text in texts], num_threads=2)

    def decode(self, ids: Sequence[int]) -> str:
        """See `PieceModel`."""
        text = self._model.decode(list(ids))
        return jieba_words.separated(text) if self._cut else text

    @functools.cached_property
    def _starts(self) -> WordStarts:
        pieces = [self.piece(i) for i in range(self.size)]
        characters_P = np.array([len(piece) for piece in pieces], np.int32)
        continues_P = np.zeros(len(pieces), bool)
        for i, piece in enumerate(pieces):
            if self._model.is_byte(i):
                # UTF-8: a byte 10xxxxxx continues the character that the byte before it belongs to.
                continues_P[i] = int(piece[3:5], 16) & 0xC0 == 0x80
                characters_P[i] = not continues_P[i]
        return WordStarts(characters_P, continues_P)

    def word_starts(self, text: str, tokens: np.ndarray, begins: bool = True) -> np.ndarray:
        """See `PieceModel`."""
        if self._cut:
            return word_starts.by_bytes(jieba_words.joined(text), jieba_words.lengths(text), self._model)
        found = self._starts(text, tokens)
        if found is not None:
            return found
        # A model that normalises text: ask it where its pieces lie in the original.
        return word_starts.by_bytes(text, word_starts.lengths(text), self._model_of(text, begins))

    def piece(self, id: int) -> str:
        """See `PieceModel`."""
        return self._model.id_to_piece(id)

    def is_byte(self, id: int) -> bool:
        """See `PieceModel`."""
        return self._model.is_byte(id)


def _without_dummy_prefix(model):
    import sentencepiece
    from sentencepiece import sentencepiece_model_pb2

    proto = sentencepiece_model_pb2.ModelProto.FromString(model.serialized_model_proto())
    if not proto.normalizer_spec.add_dummy_prefix:
        return model
    proto.normalizer_spec.add_dummy_prefix = False
    return sentencepiece.SentencePieceProcessor(model_proto=proto.SerializeToString())
