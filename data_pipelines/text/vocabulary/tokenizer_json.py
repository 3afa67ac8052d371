"""tokenizer.json of a byte-level BPE (Hugging Face), read as data and checked.

Its letters stand for bytes (GPT-2's table), its merges for pairs that become one. What the library that cuts
texts by it would lose of them without a word is refused here: bytes that are missing, rules that leave out.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from data_pipelines.errors import DataError
from data_pipelines.text.vocabulary.added_tokens import AddedToken

LARGEST = 64 << 20  # bytes of a file: the largest published ones have 33 million
_PRINTED = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
# Letter -> byte: bytes that print stand for themselves, others for the letters from U+0100 on.
BYTE_OF = {chr(byte): byte for byte in _PRINTED} | {
    chr(0x100 + number): byte for number, byte in enumerate(sorted({*range(256)} - {*_PRINTED}))
}
_IN_NO_TEXT = {0xC0, 0xC1, *range(0xF5, 0x100)}  # bytes that UTF-8 does not have
# What may be done to a text before the BPE. Of others some leave out what is between words.
_NORMALIZERS = {"NFC", "NFD", "NFKC", "NFKD", "Lowercase", "StripAccents", "Strip", "Replace", "Nmt"}
_CUTS = {"ByteLevel", "Split", "Digits", "Punctuation", "UnicodeScripts"}
BYTE_LEVEL = "ByteLevel"


class TokenizerJson(NamedTuple):
    """A byte-level BPE.

    Attributes:
      entries: of the file.
      tokens: text of each id, in the file's letters; of an added one its own.
      added: what is found in a text before it is cut.
      special: ids of those that are marks and no text.
    """

    entries: dict[str, Any]
    tokens: list[str]
    added: tuple[AddedToken, ...]
    special: frozenset[int]


def is_json(content: bytes) -> bool:
    """Whether a file may be one, by its first letter: a sentencepiece model begins otherwise."""
    return content[:1] == b"{"


def read(content: bytes, name: str) -> TokenizerJson:
    """What a file holds.

    Args:
      content: of the file.
      name: of it, for messages.

    Raises:
      DataError: it is no byte-level BPE, is damaged, or would lose text.
    """
    entries = json_object(content, name)
    model = entries.get("model")
    kind = model.get("type", "BPE" if "merges" in model else None) if isinstance(model, dict) else None
    if not isinstance(model, dict) or kind != "BPE":
        raise DataError(
            f"{name} holds a model of type {str(kind)[:20]!r}, and byte-level BPE is what is read: bring the "
            "tokenizer.model of a sentencepiece vocabulary"
        )
    _require_bytes(entries, model, name)
    vocab = model.get("vocab")
    if not isinstance(vocab, dict) or not all(type(id) is int and id >= 0 for id in vocab.values()):
        raise DataError(f"{name}: its vocab is no object of tokens with ids; copy it again")
    if not isinstance(model.get("merges") or [], list):
        raise DataError(f"{name}: its merges are no list; copy it again")
    if lost := [
        letter for letter, byte in BYTE_OF.items() if byte not in _IN_NO_TEXT and letter not in vocab
    ]:
        raise DataError(
            f"{name}: its vocab lacks {len(lost)} of the 256 bytes, and text with them would be lost: train "
            "it with initial_alphabet=pre_tokenizers.ByteLevel.alphabet()"
        )
    added, special = _added(entries.get("added_tokens") or [], name)
    return TokenizerJson(entries, _by_id(vocab, added, name), added, special)


def json_object(content: bytes, name: str) -> dict[str, Any]:
    """The entries of a JSON file; DataError where it holds none."""
    try:
        found = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{name} is not JSON ({str(error)[:80]}); copy it again") from None
    if not isinstance(found, dict):
        raise DataError(f"{name} is no JSON object; copy it again")
    return found


def token(entry: Any, id: Any, name: str) -> AddedToken:
    """An added token as the files of a tokenizer describe it; DataError where it is none."""
    text = entry.get("content") if isinstance(entry, Mapping) else None
    if type(id) is not int or id < 0 or not isinstance(text, str) or not text:
        raise DataError(f"{name}: {str(entry)[:60]} with id {str(id)[:20]} is no added token; copy it again")
    flags = {"strip_left": "lstrip", "strip_right": "rstrip", "whole_word": "single_word"}
    return AddedToken(text, id, **{ours: entry.get(theirs) is True for ours, theirs in flags.items()})


def steps(part: Any, of: str) -> Iterator[Mapping[str, Any]]:
    """The steps of a normalizer or pre_tokenizer, one by one; `of` names those of a sequence."""
    inner = part.get(of) if isinstance(part, Mapping) and part.get("type") == "Sequence" else None
    if isinstance(inner, list):
        for step in inner:
            yield from steps(step, of)
    elif part is not None:
        yield part if isinstance(part, Mapping) and isinstance(part.get("type"), str) else {"type": str(part)}


def _require_bytes(entries: Mapping[str, Any], model: Mapping[str, Any], name: str) -> None:
    """DataError unless text becomes bytes and nothing of it is left out."""
    cuts = list(steps(entries.get("pre_tokenizer"), "pretokenizers"))
    if BYTE_LEVEL not in [step["type"] for step in cuts]:
        raise DataError(
            f"{name}: its BPE is not of bytes (no ByteLevel among its pre_tokenizers); bring the "
            "tokenizer.model of a sentencepiece vocabulary"
        )
    for ending in ("continuing_subword_prefix", "end_of_word_suffix"):
        if model.get(ending):
            raise _not_read(name, f"{ending} {str(model[ending])[:20]!r}")
    for step in cuts:
        if step["type"] not in _CUTS:
            raise _not_read(name, f"pre_tokenizer {step['type'][:30]!r}")
        if step.get("behavior") == "Removed":
            raise _not_read(name, f"a {step['type']} that removes what it finds")
    for step in steps(entries.get("normalizer"), "normalizers"):
        if step["type"] not in _NORMALIZERS:
            raise _not_read(name, f"normalizer {step['type'][:30]!r}")


def _not_read(name: str, what: str) -> DataError:
    return DataError(f"{name}: {what} is not read here; a byte-level BPE that keeps the text is")


def _added(entries: Any, name: str) -> tuple[tuple[AddedToken, ...], frozenset[int]]:
    if not isinstance(entries, list):
        raise DataError(f"{name}: added_tokens is no list; copy it again")
    found, special = [], set()
    for entry in entries:
        found.append(token(entry, entry.get("id") if isinstance(entry, Mapping) else None, name))
        if (text := found[-1].text) in BYTE_OF and not text.isascii():
            raise DataError(f"{name}: added token {text!r} stands for a byte in its vocab; rename it")
        if entry.get("special") is True:
            special.add(found[-1].id)
    return tuple(found), frozenset(special)


def _by_id(vocab: Mapping[str, int], added: tuple[AddedToken, ...], name: str) -> list[str]:
    """Text by id; DataError where a token has two, two have one, or one has none."""
    every: dict[str, int] = dict(vocab)
    if broken := [text for text in (*every, *(token.text for token in added)) if not _is_text(text)]:
        raise DataError(f"{name}: {broken[0][:20]!a} is no text; copy it again")
    for token in added:
        if every.setdefault(token.text, token.id) != token.id:
            raise DataError(
                f"{name}: {token.text[:20]!r} has id {token.id} as an added token and {every[token.text]} in "
                "the vocab; bring the files of one tokenizer"
            )
    by_id = {id: text for text, id in every.items()}
    if len(by_id) < len(every):
        twice = next(text for text, id in every.items() if by_id[id] != text)
        raise DataError(
            f"{name}: {twice[:20]!r} and {by_id[every[twice]][:20]!r} have one id, {every[twice]}; bring the "
            "files of one tokenizer"
        )
    if len(by_id) != max(by_id) + 1:
        hole = next(id for id in range(len(by_id)) if id not in by_id)
        raise DataError(
            f"{name}: id {hole} is no token's and {max(by_id)} is one: a model would write ids that are "
            "nothing; add tokens for those that are missing"
        )
    return [by_id[id] for id in range(len(by_id))]


def _is_text(text: str) -> bool:
    return not any("\ud800" <= letter <= "\udfff" for letter in text)
