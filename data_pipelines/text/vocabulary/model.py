"""A vocabulary: texts to ids and back, and where words begin."""

import functools
import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from data_pipelines.errors import DataError
from data_pipelines.text.vocabulary import byte_vocabulary, jieba_words, word_starts
from data_pipelines.text.vocabulary.added_tokens import (
    Additions,
    PublishedIds,
    Splitter,
    TextPart,
    split_file,
)
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
from data_pipelines.text.vocabulary.word_starts import WordStarts


class Vocabulary:
    """A sentencepiece model file and the ids beyond it; T5's ids, or those that it was published with.

    Attributes:
      size: number of ids, sentinels included: the rows an embedding needs.
      fingerprint: sha256 of the model file, hex; equal fingerprints mean equal ids.
      special: the ids objectives insert.
      has_own_sentinels: whether they are pieces of the model file, as in mT5's.
      additions: what the model file has beyond sentencepiece's; None for most.
      proto: the model file without it.
    """

    def __init__(self, file: str | Path, content: bytes | None = None):
        """Loads a model of the layout above, or one that `published` wrote; `adopt` makes one of any.

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
        published = self.additions.published if self.additions else None
        if published is None and not has_t5_ids(self._model):
            found = (self._model.pad_id(), self._model.eos_id(), self._model.unk_id())
            raise DataError(
                f"{self.file} has pad, eos, unk = {found} instead of T5's {(PAD, EOS, UNK)}: "
                "to train a model anew, pass it as corpus.vocabulary_file, which renumbers it"
            )
        special = self._ids_of(published) if published else {}
        self.fingerprint = hashlib.sha256(content).hexdigest()
        modes = {mode: self._model.piece_to_id(mode) for mode in MODES}
        if not all(map(self._model.is_control, modes.values())):
            modes = {}
        own = range(0) if published else _own_sentinels(self._model)
        self.has_own_sentinels = bool(own)
        added = self.additions.tokens if self.additions else ()
        unread = {*own}
        if published:  # these lie among its pieces, which text would be read as
            unread |= {*(token.id for token in added), published.start, published.end, published.pad}
            unread -= {self._model.unk_id(), min(published.start, -1)}
        if unread:
            self._model = _never_read_from_text(self.proto, unread)
        first, count = self._model.get_piece_size() + SENTINELS - 1, SENTINELS
        if own:
            first, count = own[0], len(own)
        elif self.additions:
            first, count = self.additions.first_sentinel, self.additions.sentinels
        self._added = {token.id: token.text for token in added}
        self._split = Splitter(self.additions) if self.additions and added and not published else None
        self._cut = bool(published and published.words)
        self._readable = self._model.get_piece_size()  # ids below are pieces that have a text
        if self.additions and self.additions.byte_ids:
            self._readable = byte_vocabulary.IDS
        self.size = max(self.pieces, first + 1, *(id + 1 for id in self._added))
        self.special = SpecialTokens(Modes(modes), first, count, **special)
        self._unseen = {self.special.pad} - {self.special.unk}  # ids that decoding passes over
        self._starts = WordStarts(self._model)

    def _ids_of(self, published: PublishedIds) -> dict[str, int]:
        """Start, end, padding and unknown text by the names of `SpecialTokens`."""
        size = self._model.get_piece_size()
        ids = {"eos": published.end, "start": published.start, "pad": published.pad}
        if published.words not in ("", jieba_words.NAME):
            raise DataError(f"{self.file} cuts text by {published.words!r}, which is not known here")
        for name, id in ids.items():
            if not (0 <= id < size or (name == "start" and id < 0)):
                raise DataError(f"{self.file} says {name} is id {id}, and has {size} ids: bring its own file")
        return ids | {"unk": self._model.unk_id()}

    @property
    def pieces(self) -> int:
        """Number of ids before those of sentinels and tokens that are not in the model file."""
        own = self.additions.byte_ids if self.additions else 0
        return own or self._model.get_piece_size()

    def added(self, text: str) -> int | None:
        """The id of an added token by its text; None where there is none of that text."""
        return next((id for id, known in self._added.items() if known == text), None)

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
        ids = [[p.id] if p.id is not None else self._model_of(p).encode(self._read(p.text)) for p in parts]
        return np.concatenate([np.zeros(0, np.int32), *ids]).astype(np.int32)

    def _read(self, text: str) -> str:
        """What sentencepiece reads of a text."""
        return jieba_words.joined(text) if self._cut else text

    def _said(self, tokens: list[int]) -> str:
        """What sentencepiece says of tokens, as a text."""
        text = self._model.decode(tokens)
        return jieba_words.separated(text) if self._cut else text

    def encode(self, text: str) -> np.ndarray:
        """int32 [tokens], without eos. Never a mode token or a sentinel, nor an added token of a published
        vocabulary, whatever is written: T5's alone are found in any text."""
        if self._split:
            return self._encoded(self._split(text))
        return np.array(self._model.encode(self._read(text)), np.int32)

    def encode_within(self, text: str) -> np.ndarray:
        """As `encode`, for a text that goes on in another: without the space before the beginning of one."""
        first, *rest = (self._split(text) if self._split else []) or [TextPart(text, None, True)]
        return self._encoded([first._replace(begins=self._cut), *rest] if text else [])

    def encode_prompt(self, text: str) -> np.ndarray:
        """As `encode`, with `<extra_id_0>` and so on read as sentinels, and a published vocabulary's added
        tokens as its own tokenizer reads them: for what the owner of a model writes, never for a corpus."""
        return self._encoded(self._split_prompt(text))

    def encode_all(self, texts: Sequence[str]) -> list[np.ndarray]:
        """`encode` for many texts, on two threads."""
        if self._split:
            return [self.encode(text) for text in texts]
        read = [self._read(text) for text in texts]
        return [np.array(ids, np.int32) for ids in self._model.encode(read, num_threads=2)]

    def is_byte(self, token: int) -> bool:
        """Whether a token is one byte of a character that is no piece."""
        return token < self._model.get_piece_size() and self._model.is_byte(token)

    def decode(self, tokens: Iterable[int]) -> str:
        """Text of the tokens up to the first eos. Sentinels appear as `<extra_id_0>`; padding does not.

        An id beyond the vocabulary is unknown: embeddings often have more rows than there are ids.
        """
        parts: list[str] = []
        run: list[int] = []
        for token in map(int, tokens):
            if token == self.special.eos:
                break
            if 0 <= self.special.first_sentinel - token < self.special.sentinels:
                parts += [self._said(run), f"<extra_id_{self.special.first_sentinel - token}>"]
                run = []
            elif token in self._added:
                parts += [self._said(run), self._added[token]]
                run = []
            elif token not in self._unseen:
                run.append(token if token < self._readable else self.special.unk)
        return "".join([*parts, self._said(run)])

    def word_starts(self, text: str, tokens: np.ndarray) -> np.ndarray:
        """bool [tokens]: whether a token begins where a word of `text` begins (jieba's words, by rjieba)."""
        if self._cut:
            return word_starts.of_joined(text, self._model)
        if not self._split:
            return self._starts(text, tokens, self._model)
        starts = [np.zeros(0, bool)]
        for part in self._split(text):
            if part.id is not None:
                starts.append(np.ones(1, bool))
            else:
                model = self._model_of(part)
                starts.append(self._starts(part.text, np.array(model.encode(part.text), int), model))
        return np.concatenate(starts)

    def seqio(self):
        """The same ids as a seqio.SentencePieceVocabulary (imports TensorFlow).

        Raises:
          DataError: it cannot have them, because it splits no added tokens off.
        """
        if self.additions and self.additions.published:
            raise DataError(
                f"{self.file} keeps its own ids for the end and the start of a text, which seqio takes from "
                "its pieces: train by the token cache (`pangu train`)"
            )
        if self._added:
            raise DataError(
                f"{self.file} has added tokens, which seqio would read as pieces: train by the token cache "
                "(`pangu train`), which splits them off"
            )
        import seqio

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


def _never_read_from_text(proto: bytes, ids: Iterable[int]):
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
