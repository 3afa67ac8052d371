"""A vocabulary: texts to ids and back, and where words begin."""

import functools
import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from data_pipelines.errors import DataError
from data_pipelines.text.vocabulary import byte_vocabulary, tokenizer_json
from data_pipelines.text.vocabulary.added_tokens import (
    TOKENIZER_JSON,
    Additions,
    PublishedIds,
    Splitter,
    TextPart,
    split_file,
)
from data_pipelines.text.vocabulary.byte_level import ByteLevelPieces
from data_pipelines.text.vocabulary.piece_model import PieceModel
from data_pipelines.text.vocabulary.sentence_pieces import SentencePieces
from data_pipelines.text.vocabulary.special_tokens import SENTINELS, Modes, SpecialTokens


class Vocabulary:
    """A model file of pieces and the ids beyond it; T5's ids, or those that it was published with.

    Attributes:
      size: number of ids, sentinels included: the rows an embedding needs.
      fingerprint: sha256 of the model file, hex; equal fingerprints mean equal ids.
      special: the ids objectives insert.
      has_own_sentinels: whether they are pieces of the model file, as in mT5's.
      additions: what the model file has beyond sentencepiece's; None for most.
      proto: the model file without it, sentencepiece's or a tokenizer.json.
    """

    def __init__(self, file: str | Path, content: bytes | None = None):
        """Loads a model of the layout above, or one that `published` wrote; `adopt` makes one of any.

        Args:
          file: where it is, or with `content` is named for messages.
          content: the file's, where it is not written yet.
        Raises:
          DataError: the file is missing, is no sentencepiece model, or has other ids for pad, eos and unk.
        """
        self.file = Path(file)
        try:
            content = self.file.read_bytes() if content is None else content
        except OSError as error:
            raise DataError(f"cannot read the vocabulary {self.file}: {error.strerror}") from error
        self.proto, self.additions = split_file(content)
        published = self.additions.published if self.additions else None
        self._pieces: PieceModel = _pieces(self.proto, self.additions, str(self.file))
        special = self._ids_of(published) if published else {}
        self.fingerprint = hashlib.sha256(content).hexdigest()
        modes: dict[str, int] = {}
        own = range(0)
        if isinstance(self._pieces, SentencePieces) and not published:
            self._pieces.require_t5_ids()
            modes, own = self._pieces.modes(), self._pieces.sentinels()
        self.has_own_sentinels = bool(own)
        added = self.additions.tokens if self.additions else ()
        unread = {*own}
        if published:  # these lie among its pieces, which text would be read as
            unread |= {*(token.id for token in added), published.start, published.end, published.pad}
            unread -= {self._pieces.unknown, min(published.start, -1)}
        if unread:
            self._pieces = self._pieces.never_reading(unread)
        first, count = self._pieces.size + SENTINELS - 1, SENTINELS
        if own:
            first, count = own[0], len(own)
        elif self.additions:
            first, count = self.additions.first_sentinel, self.additions.sentinels
        self._added = {token.id: token.text for token in added}
        self._split = Splitter(self.additions) if self.additions and added and not published else None
        self._readable = self._pieces.size  # ids below are pieces that have a text
        if self.additions and self.additions.byte_ids:
            self._readable = byte_vocabulary.IDS
        self.size = max(self.pieces, first + 1, *(id + 1 for id in self._added))
        self.special = SpecialTokens(Modes(modes), first, count, **special)
        # Ids that decoding passes over.
        self._unseen = {self.special.pad, self.special.start} - {self.special.unk}

    def _ids_of(self, published: PublishedIds) -> dict[str, int]:
        """Start, end, padding and unknown text by the names of `SpecialTokens`."""
        size = self._pieces.size
        ids = {"eos": published.end, "start": published.start, "pad": published.pad}
        for name, id in ids.items():
            if not (0 <= id < size or (name == "start" and id < 0)):
                raise DataError(f"{self.file} says {name} is id {id}, and has {size} ids: bring its own file")
        return ids | {"unk": self._pieces.unknown}

    @property
    def pieces(self) -> int:
        """Number of ids before those of sentinels and tokens that are not in the model file."""
        own = self.additions.byte_ids if self.additions else 0
        return own or self._pieces.size

    def added(self, text: str) -> int | None:
        """The id of an added token by its text; None where there is none of that text."""
        return next((id for id, known in self._added.items() if known == text), None)

    def piece(self, id: int) -> str:
        """The piece of an id below `pieces`, as the model file writes it."""
        return self._pieces.piece(id)

    @functools.cached_property
    def _split_prompt(self) -> Splitter:
        sentinels = {f"<extra_id_{i}>": self.special.sentinel(i) for i in range(self.special.sentinels)}
        return Splitter(self.additions or Additions(0, 0), sentinels)

    def _encoded(self, parts: Iterable[TextPart]) -> np.ndarray:
        ids = [[p.id] if p.id is not None else self._pieces.encode(p.text, p.begins) for p in parts]
        return np.concatenate([np.zeros(0, np.int32), *ids]).astype(np.int32)

    def encode(self, text: str) -> np.ndarray:
        """int32 [tokens], without eos. Never a mode token or a sentinel, nor an added token of a published
        vocabulary, whatever is written: T5's alone are found in any text."""
        if self._split:
            return self._encoded(self._split(text))
        return np.array(self._pieces.encode(text), np.int32)

    def encode_within(self, text: str) -> np.ndarray:
        """As `encode`, for a text that goes on in another: without the space before the beginning of one."""
        first, *rest = (self._split(text) if self._split else []) or [TextPart(text, None, True)]
        return self._encoded([first._replace(begins=False), *rest] if text else [])

    def encode_prompt(self, text: str) -> np.ndarray:
        """As `encode`, with `<extra_id_0>` and so on read as sentinels, and a published vocabulary's added
        tokens as its own tokenizer reads them: for what the owner of a model writes, never for a corpus."""
        if isinstance(self._pieces, ByteLevelPieces):
            return np.array(self._pieces.encode_marked(text), np.int32)
        return self._encoded(self._split_prompt(text))

    def encode_all(self, texts: Sequence[str]) -> list[np.ndarray]:
        """`encode` for many texts, on several threads."""
        if self._split:
            return [self.encode(text) for text in texts]
        return [np.array(ids, np.int32) for ids in self._pieces.encode_all(texts)]

    def is_byte(self, token: int) -> bool:
        """Whether a token is one byte of a character that is no piece."""
        return token < self._pieces.size and self._pieces.is_byte(token)

    def decode(self, tokens: Iterable[int]) -> str:
        """Text of the tokens up to the first eos. Sentinels appear as `<extra_id_0>`; padding does not.

        An id beyond the vocabulary is unknown: embeddings often have more rows than there are ids.
        """
        parts: list[str] = []
        run: list[int] = []
        said = self._pieces.decode
        for token in map(int, tokens):
            if token == self.special.eos:
                break
            if 0 <= self.special.first_sentinel - token < self.special.sentinels:
                parts += [said(run), f"<extra_id_{self.special.first_sentinel - token}>"]
                run = []
            elif token in self._unseen:
                continue
            elif token in self._added:
                parts += [said(run), self._added[token]]
                run = []
            else:
                run.append(token if token < self._readable else self.special.unk)
        return "".join([*parts, said(run)])

    def word_starts(self, text: str, tokens: np.ndarray) -> np.ndarray:
        """bool [tokens]: whether a token begins where a word of `text` begins (jieba's words, by rjieba)."""
        if not self._split:
            return self._pieces.word_starts(text, tokens)
        starts = [np.zeros(0, bool)]
        for part in self._split(text):
            if part.id is not None:
                starts.append(np.ones(1, bool))
            else:
                own = np.array(self._pieces.encode(part.text, part.begins), int)
                starts.append(self._pieces.word_starts(part.text, own, part.begins))
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
        extra_ids = max(extra_ids - self._pieces.size, 0)
        return seqio.SentencePieceVocabulary(str(self.file), extra_ids=extra_ids)


def _pieces(proto: bytes, additions: Additions | None, name: str) -> PieceModel:
    """What cuts texts, by what the file says that it is."""
    if additions and additions.model == TOKENIZER_JSON:
        return ByteLevelPieces(tokenizer_json.read(proto, name), name)
    words = additions.published.words if additions and additions.published else ""
    return SentencePieces(proto, name, words)
