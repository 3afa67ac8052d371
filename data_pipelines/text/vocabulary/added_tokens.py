"""What a vocabulary has beyond its sentencepiece model: tokens that were added to it, and its sentinels.

Both are kept in the model file, as a last field that sentencepiece skips (its format leaves the numbers from
200 on to others): one file, one fingerprint. Without it the file is the published one, byte for byte. A
tokenizer.json is followed by the same bytes, and is JSON without them.

Added tokens are split off before sentencepiece sees a text, as the tokenizers of Hugging Face do it.
"""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from data_pipelines.errors import DataError

FIELD = 20150
MAGIC = b"pangu_jax vocabulary 1\n"  # no JSON that follows can hold a line break
SENTINEL = re.compile(r"<extra_id_(\d{1,4})>")


class AddedToken(NamedTuple):
    """A text that is one token wherever it is found.

    Attributes:
      text: what is found; never empty.
      id: its own.
      strip_left, strip_right: whether white space beside it goes with it.
      whole_word: whether it is found only where no letter, digit or underscore touches it.
    """

    text: str
    id: int
    strip_left: bool = False
    strip_right: bool = False
    whole_word: bool = False


class PublishedIds(NamedTuple):
    """A vocabulary with the ids that it was published with, whatever they are.

    Its added tokens lie among the pieces, and no text is read as one of them unless that is asked for
    (`Vocabulary.encode_prompt`): a user who writes `[unused10]` writes letters.

    Attributes:
      start: before the first token of a text that a decoder writes; below 0 where nothing is.
      end: ends a text.
      pad: fills batches; may be the id of unknown text.
      words: how text is cut before sentencepiece sees it: "jieba" (`jieba_words`), or not at all.
    """

    start: int
    end: int
    pad: int
    words: str = ""


SENTENCEPIECE, TOKENIZER_JSON = "sentencepiece", "tokenizer.json"


class Additions(NamedTuple):
    """What the model file does not say.

    Attributes:
      first_sentinel: id of `<extra_id_0>`; the others follow in falling order.
      sentinels: how many there are.
      tokens: the added ones.
      each_begins: whether text after an added token is read as the beginning of a text (with sentencepiece's
        dummy prefix), as the older tokenizers of T5 do it; a text goes on there otherwise.
      byte_ids: of ByT5, whose ids are bytes: how many ids there are, those behind the bytes included, which
        no text is read as; 0 for others.
      published: of a vocabulary that keeps its own ids for the start, the end and padding; None has T5's.
      model: whose model file it is: `SENTENCEPIECE`'s or, of a byte-level BPE, `TOKENIZER_JSON`.
    """

    first_sentinel: int
    sentinels: int
    tokens: tuple[AddedToken, ...] = ()
    each_begins: bool = True
    byte_ids: int = 0
    published: PublishedIds | None = None
    model: str = SENTENCEPIECE


class TextPart(NamedTuple):
    """A part of a text: an added token or a sentinel (`id`), or what is between two (None).

    `begins`: whether it is read as the beginning of a text.
    """

    text: str
    id: int | None
    begins: bool


def written(proto: bytes, additions: Additions) -> bytes:
    """A model file with additions; `proto` is one without."""
    fields = additions._asdict()
    for name in ("published", "model"):  # as the files of before these were known
        if fields[name] == Additions._field_defaults[name]:
            del fields[name]
    payload = MAGIC + json.dumps(fields).encode("ascii")  # a token becomes a list
    return proto + _head(len(payload)) + payload


def split_file(data: bytes) -> tuple[bytes, Additions | None]:
    """The model file without its additions, and these; None where there are none.

    Raises:
      DataError: they are damaged.
    """
    begin = data.rfind(MAGIC)
    head = _head(len(data) - begin)
    if begin < len(head) or data[begin - len(head) : begin] != head:
        return data, None
    try:
        fields = json.loads(data[begin + len(MAGIC) :])
        fields["tokens"] = tuple(AddedToken(*token) for token in fields["tokens"])
        if "published" in fields:
            fields["published"] = PublishedIds(*fields["published"])
        return data[: begin - len(head)], Additions(**fields)
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"the vocabulary's added tokens are damaged ({error}); copy its file again") from None


def _head(length: int) -> bytes:
    """Protobuf's head of FIELD with so many bytes."""
    return _varint(FIELD << 3 | 2) + _varint(length)


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes([*out, number])


class Splitter:
    """Cuts texts at added tokens, the longest of those that begin at a place, and at sentinels if asked to.

    Args:
      additions: the tokens.
      sentinels: `<extra_id_0>` -> id, ...: read too; nothing for text that must not hold any.
    """

    def __init__(self, additions: Additions, sentinels: Mapping[str, int] | None = None):
        tokens = [*additions.tokens, *(AddedToken(text, id) for text, id in (sentinels or {}).items())]
        self._ids = {token.text: token.id for token in tokens}
        # Text goes on after a sentinel: it stands for the tokens between.
        self._each_begins = {token.id for token in additions.tokens} if additions.each_begins else set()
        longest_first = sorted(tokens, key=lambda token: -len(token.text))
        self._pattern = re.compile("|".join(_pattern_of(token) for token in longest_first) or r"(?!)")

    def __call__(self, text: str) -> list[TextPart]:
        """The parts of a text in their order; none is empty, and together they are the text, but for white
        space that goes with a token."""
        parts: list[TextPart] = []
        end, begins = 0, True
        for found in self._pattern.finditer(text):
            if between := text[end : found.start()]:
                parts.append(TextPart(between, None, begins))
            token = next(group for group in found.groups() if group is not None)
            parts.append(TextPart(token, self._ids[token], False))
            end, begins = found.end(), self._ids[token] in self._each_begins
        if rest := text[end:]:
            parts.append(TextPart(rest, None, begins))
        return parts


def _pattern_of(token: AddedToken) -> str:
    word = rf"(?<!\w)({re.escape(token.text)})(?!\w)" if token.whole_word else f"({re.escape(token.text)})"
    return (r"\s*" if token.strip_left else "") + word + (r"\s*" if token.strip_right else "")


def sentinels_in(text: str) -> list[int]:
    """Numbers of the sentinels that are written in a text, in its order."""
    return [int(found[1]) for found in SENTINEL.finditer(text)]


def described(tokens: Sequence[AddedToken], most: int = 3) -> str:
    """A few of them by name, cut: what comes of a stranger's file."""
    names: list[Any] = [json.dumps(token.text[:20], ensure_ascii=False) for token in tokens[:most]]
    more = f" and {len(tokens) - most} more" if len(tokens) > most else ""
    return ", ".join(names) + more
