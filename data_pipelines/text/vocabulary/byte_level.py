"""The pieces of a byte-level BPE, by the library that cuts it for the models that have one: `tokenizers`."""

import functools
import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from data_pipelines.errors import DataError
from data_pipelines.text.vocabulary import tokenizer_json
from data_pipelines.text.vocabulary.tokenizer_json import BYTE_LEVEL, BYTE_OF, TokenizerJson
from data_pipelines.text.vocabulary.word_starts import WordStarts


class ByteLevelPieces:
    """A `PieceModel` by a tokenizer.json.

    Added tokens that are text, such as runs of spaces, are pieces like others. Its rules for cutting a text
    short, filling it up and putting tokens around it are not followed: windows and prompts have their own.

    Args:
      theirs: the file.
      name: of it, for messages.
      unread: ids that no text is encoded to, whatever it spells.
    """

    unknown = -1  # every text has bytes

    def __init__(self, theirs: TokenizerJson, name: str, unread: Collection[int] = ()):
        self._theirs, self._name, self._unread = theirs, name, frozenset(unread)
        self.size = len(theirs.tokens)

    @functools.cached_property
    def _bytes_P(self) -> list[bytes]:
        own = {token.id for token in self._theirs.added}
        return [_bytes(text, id in own) for id, text in enumerate(self._theirs.tokens)]

    def never_reading(self, ids: Collection[int]) -> "ByteLevelPieces":
        """See `PieceModel`; DataError where one is a byte, without which text would be lost."""
        if bytes_ := [self._theirs.tokens[id] for id in ids if self._theirs.tokens[id] in BYTE_OF]:
            raise DataError(f"{self._name}: {bytes_[0]!r} is a byte of texts and cannot be a mark as well")
        return ByteLevelPieces(self._theirs, self._name, ids)

    @functools.cached_property
    def _begin(self):
        return _tokenizer(self._theirs, self._unread, self._name)

    @functools.cached_property
    def _within(self):
        """For a stretch that no text begins with: without a space before it."""
        steps = [*tokenizer_json.steps(self._theirs.entries.get("pre_tokenizer"), "pretokenizers")]
        if not any(step["type"] == BYTE_LEVEL and step.get("add_prefix_space", True) for step in steps):
            return self._begin
        bare = [
            {**step, "add_prefix_space": False} if step["type"] == BYTE_LEVEL else dict(step)
            for step in steps
        ]
        entries = {**self._theirs.entries, "pre_tokenizer": {"type": "Sequence", "pretokenizers": bare}}
        return _tokenizer(self._theirs._replace(entries=entries), self._unread, self._name)

    def encode(self, text: str, begins: bool = True) -> list[int]:
        """See `PieceModel`."""
        return (self._begin if begins else self._within).encode(text, add_special_tokens=False).ids

    @functools.cached_property
    def _marked(self):
        """The library's tokenizer with all added tokens of the file, and marks that are named beside it."""
        import tokenizers

        own = {token.id for token in self._theirs.added}
        named = [self._theirs.tokens[id] for id in sorted(self._unread - own)]
        found = _tokenizer(self._theirs, frozenset(), self._name)
        found.add_special_tokens([tokenizers.AddedToken(text, normalized=False) for text in named])
        return found

    def encode_marked(self, text: str) -> list[int]:
        """Ids of a text in which marks are read, as the library finds them among other added tokens."""
        return self._marked.encode(text, add_special_tokens=False).ids

    def encode_all(self, texts: Sequence[str]) -> Iterable[list[int]]:
        """On all cores, by the library's threads."""
        found = self._begin.encode_batch_fast(list(texts), add_special_tokens=False)
        return (encoding.ids for encoding in found)

    def decode(self, ids: Sequence[int]) -> str:
        """See `PieceModel`; an id below 0 is U+FFFD."""
        parts = (self._bytes_P[id] if id >= 0 else "\ufffd".encode() for id in ids)
        return b"".join(parts).decode("utf-8", "replace")

    @functools.cached_property
    def _starts(self) -> WordStarts:
        continuing = lambda byte: byte & 0xC0 == 0x80  # noqa: E731 - UTF-8: 10xxxxxx
        characters_P = [sum(not continuing(byte) for byte in own) for own in self._bytes_P]
        continues_P = [continuing(own[0]) for own in self._bytes_P]
        return WordStarts(np.array(characters_P, np.int32), np.array(continues_P, bool))

    def word_starts(self, text: str, tokens: np.ndarray, begins: bool = True) -> np.ndarray:
        """See `PieceModel`."""
        found = self._starts(text, tokens)
        if found is None:  # a normalizer or a space before it changed the text: ask what it has become
            found = self._starts(self.decode(tokens.tolist()), tokens)
        assert found is not None, "tokens of a text are that text"
        return found

    def piece(self, id: int) -> str:
        """In the file's letters."""
        return self._theirs.tokens[id]

    def is_byte(self, id: int) -> bool:
        """See `PieceModel`."""
        own = self._bytes_P[id]
        return len(own) == 1 and own[0] > 0x7F


def _bytes(text: str, added: bool) -> bytes:
    """What a token says. An added one is written as it is, and others in letters for bytes."""
    if added or not all(letter in BYTE_OF for letter in text):
        return text.encode()
    return bytes(BYTE_OF[letter] for letter in text)


def _tokenizer(theirs: TokenizerJson, unread: frozenset[int], name: str):
    """The library's tokenizer, in which nothing makes an unread token.

    Added tokens that are read are in its vocab too: the library numbers those that are not from the vocab's
    end on, whatever ids the file gives them, and does not say so.
    """
    try:
        import tokenizers
    except ImportError:
        raise DataError(f"{name} needs tokenizers: pip install 'pangu-jax[hf]'") from None
    marks = {theirs.tokens[id] for id in unread}
    added = [entry for entry in theirs.entries.get("added_tokens") or [] if entry["id"] not in unread]
    model: dict[str, Any] = dict(theirs.entries["model"])
    model["vocab"] = {text: id for id, text in enumerate(theirs.tokens) if id not in unread}
    model["merges"] = [merge for merge in model.get("merges") or [] if not marks & _parts(merge)]
    # What would make of one text different ids, or of letters that are no piece a mark.
    model |= {"dropout": None, "unk_token": None}
    entries: Mapping[str, Any] = {
        **theirs.entries,
        "added_tokens": added,
        "model": model,
        "truncation": None,
        "padding": None,
        "post_processor": None,
    }
    try:
        return tokenizers.Tokenizer.from_str(json.dumps(entries))
    except Exception as error:  # of no kind of its own
        raise DataError(f"{name} is no tokenizer.json: {str(error)[:120]}; copy it again") from None


def _parts(merge: Any) -> set[str]:
    """The two of a merge, and what they become."""
    pair = merge.split(" ") if isinstance(merge, str) else merge
    if not isinstance(pair, list) or not all(isinstance(part, str) for part in pair):
        return set()
    return {*pair, "".join(pair)}
