"""Which tokens were added to a tokenizer of Hugging Face: three files say it, by who wrote them."""

import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from data_pipelines.text.vocabulary.added_tokens import SENTINEL, AddedToken, described
from pangu_jax.errors import UserError

ADDED = "added_tokens.json"
DECODER = "added_tokens_decoder"  # of tokenizer_config.json
RESERVED_IDS = range(3)  # <pad>, </s> and <unk>, which no text is ever read as
LARGEST_ID = 10_000_000


class Claimed(NamedTuple):
    """What the files say.

    Attributes:
      tokens: added ones, by id; neither <pad>, </s>, <unk> nor a sentinel is among them.
      sentinels: number of `<extra_id_N>` -> id, of those that are named with one.
    """

    tokens: tuple[AddedToken, ...]
    sentinels: dict[int, int]


def read(source: Path, settings: Mapping[str, Any], tokenizer: Mapping[str, Any] | None) -> Claimed:
    """What the files of a folder say together.

    Args:
      source: the folder.
      settings: entries of its tokenizer_config.json.
      tokenizer: entries of its tokenizer.json, if there is one.
    Raises:
      UserError: they contradict each other, or name a token without an id.
    """
    ids: dict[str, AddedToken] = {}
    for where, token in _entries(source, settings, tokenizer):
        known = ids.setdefault(token.text, token)
        if known.id != token.id:
            raise UserError(
                f"{where}: {described([token])} has id {token.id}, and {known.id} elsewhere in {source}; "
                "bring the tokenizer files of one model"
            )
    tokens = sorted((t for t in ids.values() if t.id not in RESERVED_IDS), key=lambda token: token.id)
    for token, after in itertools.pairwise(tokens):
        if token.id == after.id:
            raise UserError(
                f"{source}: added tokens {described([token, after])} have one id, {token.id}; bring the "
                "tokenizer files of one model"
            )
    sentinels = {int(m[1]): t.id for t in tokens if (m := SENTINEL.fullmatch(t.text.removeprefix("▁")))}
    _require_ids(source, settings, ids)
    return Claimed(tuple(t for t in tokens if not SENTINEL.fullmatch(t.text.removeprefix("▁"))), sentinels)


def decoder(tokens: Sequence[AddedToken]) -> dict[str, dict[str, Any]]:
    """Added tokens as an entry of tokenizer_config.json."""
    return {
        str(token.id): {
            "content": token.text,
            "lstrip": token.strip_left,
            "rstrip": token.strip_right,
            "single_word": token.whole_word,
            "normalized": False,
            "special": False,
        }
        for token in tokens
    }


def _entries(
    source: Path, settings: Mapping[str, Any], tokenizer: Mapping[str, Any] | None
) -> Iterator[tuple[Path, AddedToken]]:
    where = source / "tokenizer_config.json"
    decoder = settings.get(DECODER) or {}
    if not isinstance(decoder, Mapping):
        raise UserError(f"{where}: {DECODER} is no JSON object; copy it again")
    for id, entry in decoder.items():
        yield where, _token(where, int(id) if str(id).isdecimal() else None, entry)
    if tokenizer is not None:
        where = source / "tokenizer.json"
        entries = tokenizer.get("added_tokens") or []
        if not isinstance(entries, list):
            raise UserError(f"{where}: added_tokens is no list; copy it again")
        for entry in entries:
            yield where, _token(where, entry.get("id") if isinstance(entry, Mapping) else None, entry)
    where = source / ADDED
    if where.is_file():
        for text, id in _added(where).items():
            yield where, _token(where, id, {"content": text})


def _added(file: Path) -> Mapping[str, Any]:
    try:
        found = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise UserError(f"{file} is no JSON object of tokens with their ids; copy it again")
    return found


def _token(where: Path, id: Any, entry: Any) -> AddedToken:
    text = entry.get("content") if isinstance(entry, Mapping) else None
    if type(id) is not int or not 0 <= id < LARGEST_ID or not isinstance(text, str) or not text:
        raise UserError(f"{where}: {str(entry)[:60]} with id {str(id)[:20]} is no added token; copy it again")
    return AddedToken(
        text,
        id,
        strip_left=entry.get("lstrip") is True,
        strip_right=entry.get("rstrip") is True,
        whole_word=entry.get("single_word") is True,
    )


def _require_ids(source: Path, settings: Mapping[str, Any], known: Mapping[str, AddedToken]) -> None:
    """UserError where a token is named that transformers would give the next free id."""
    named = []
    for entry in ("additional_special_tokens", "extra_special_tokens"):
        value = settings.get(entry) or []
        listed = value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else []
        named += [token.get("content") if isinstance(token, Mapping) else token for token in listed]
    lost = [t for t in named if isinstance(t, str) and t not in known and not _reserved(t)]
    if lost:
        name = json.dumps(lost[0][:20], ensure_ascii=False)
        raise UserError(
            f"{source / 'tokenizer_config.json'} names {name} as a special token and no file says its id: "
            "save the tokenizer with save_pretrained, which writes it down"
        )


def _reserved(text: str) -> bool:
    return text in ("<pad>", "</s>", "<unk>") or SENTINEL.fullmatch(text.removeprefix("▁")) is not None
