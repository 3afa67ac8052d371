"""The vocabulary of a folder of Hugging Face: sentencepiece's or ByT5's bytes, sentinels, added tokens.

Pieces are in spiece.model or in tokenizer.json, sentinels and added tokens in tokenizer_config.json,
added_tokens.json and tokenizer.json, by the version that wrote them. What cannot be kept is refused by name.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from data_pipelines.text.vocabulary import Vocabulary, added_tokens, byte_vocabulary
from data_pipelines.text.vocabulary.added_tokens import Additions
from pangu_jax.apps.language.conversion import added_token_files, tokenizer_json
from pangu_jax.apps.language.conversion.added_token_files import Claimed
from pangu_jax.errors import UserError
from pangu_jax.runs.exchange.json_entries import entries
from pangu_jax.runs.exchange.tensors import write_json

SPIECE, TOKENIZER, SETTINGS = "spiece.model", "tokenizer.json", "tokenizer_config.json"
T5_SENTINELS = 100  # where a T5's tokenizer_config.json says nothing
BYT5_SENTINELS = 125


class FoundVocabulary(NamedTuple):
    """A folder's vocabulary.

    Attributes:
      vocabulary: it, ready to be used.
      content: of the run's vocabulary.model; spiece.model byte for byte where that says it all.
      notes: what a person should know of it, a line each.
    """

    vocabulary: Vocabulary
    content: bytes
    notes: tuple[str, ...] = ()


def read(source: Path, rows: int, tokenizer_class: Any = None) -> FoundVocabulary:
    """The vocabulary of a folder.

    Args:
      source: the folder.
      rows: of the model's embedding.
      tokenizer_class: what its config.json says, where tokenizer_config.json says nothing.
    Raises:
      UserError, DataError: there is none that can be read, or it is of another model.
    """
    settings = entries(source / SETTINGS) if (source / SETTINGS).is_file() else {}
    theirs = entries(source / TOKENIZER) if (source / TOKENIZER).is_file() else None
    if settings.get("tokenizer_class", tokenizer_class) in ("ByT5Tokenizer", "ByT5TokenizerFast"):
        return _bytes(source, settings, theirs, rows)
    notes: list[str] = []
    each_begins = settings.get("legacy") is not False
    if (source / SPIECE).is_file():
        file = source / SPIECE
        plain = Vocabulary(file)
        content = file.read_bytes()
    elif theirs is not None:
        file = source / TOKENIZER
        content = tokenizer_json.to_sentencepiece(theirs, file)
        plain = Vocabulary(file, content)
        each_begins = tokenizer_json.prefix_scheme(theirs, file) == "always"
        notes.append(f"no {SPIECE}: a sentencepiece model was made of {TOKENIZER}")
    else:
        raise _none(source)
    claimed = added_token_files.read(source, settings, theirs)
    additions = _additions(source, plain, settings, claimed, each_begins)
    if additions.tokens:
        notes.append(f"added tokens that are split off: {added_tokens.described(additions.tokens)}")
    if (additions.first_sentinel, additions.sentinels) == _sentinels_of(plain) and not additions.tokens:
        found = FoundVocabulary(plain, content, tuple(notes))
    else:
        content = added_tokens.written(plain.proto, additions)
        found = FoundVocabulary(Vocabulary(file, content), content, tuple(notes))
    _require_rows(file, found.vocabulary, rows)
    return found


def write(vocabulary: Vocabulary, folder: Path) -> None:
    """The files that transformers makes the same vocabulary of: `read`, backwards."""
    additions = vocabulary.additions
    tokens = additions.tokens if additions else ()
    of_bytes = additions.byte_ids if additions else 0
    extra_ids = 0 if vocabulary.has_own_sentinels else vocabulary.special.sentinels
    settings: dict[str, Any] = {
        "tokenizer_class": "ByT5Tokenizer" if of_bytes else "T5Tokenizer",
        "extra_ids": of_bytes - byte_vocabulary.IDS if of_bytes else extra_ids,
        "pad_token": "<pad>",
        "eos_token": "</s>",
        "unk_token": "<unk>",
    }
    if additions and tokens:
        settings["legacy"] = additions.each_begins
        settings[added_token_files.DECODER] = added_token_files.decoder(tokens)
        write_json(folder / added_token_files.ADDED, {token.text: token.id for token in tokens})
    write_json(folder / SETTINGS, settings)
    if not of_bytes:
        (folder / SPIECE).write_bytes(vocabulary.proto)


def _none(source: Path) -> UserError:
    if (source / "vocab.txt").is_file():
        return UserError(
            f"{source} has BERT's vocab.txt instead of {SPIECE}: its ids are WordPiece's, which no "
            "vocabulary here can read; import a T5 with a sentencepiece vocabulary (Mengzi, mT5)"
        )
    return UserError(f"{source} has no {SPIECE} and no {TOKENIZER}; copy it from where the model came from")


def _sentinels_of(vocabulary: Vocabulary) -> tuple[int, int]:
    return vocabulary.special.first_sentinel, vocabulary.special.sentinels


def _additions(
    source: Path, plain: Vocabulary, settings: Mapping[str, Any], claimed: Claimed, each_begins: bool
) -> Additions:
    pieces = plain.pieces
    first, count = _sentinels(source, plain, settings, claimed)
    tokens = []
    for token in claimed.tokens:
        if token.id < pieces and plain.piece(token.id) not in (token.text, "▁" + token.text):
            raise UserError(
                f"{source}: {added_tokens.described([token])} is an added token with id {token.id}, which is "
                f"another piece's in {plain.file.name}: bring the tokenizer files of one model"
            )
        if first - count < token.id <= first:
            raise UserError(
                f"{source}: {added_tokens.described([token])} is an added token with id {token.id}, a "
                f'sentinel\'s; if the model has no sentinels, write "extra_ids": 0 into {SETTINGS}'
            )
        tokens.append(token)
    return Additions(first, count, tuple(tokens), each_begins)


def _sentinels(
    source: Path, plain: Vocabulary, settings: Mapping[str, Any], claimed: Claimed
) -> tuple[int, int]:
    """The id of <extra_id_0>, and how many there are."""
    if plain.has_own_sentinels:
        return _sentinels_of(plain)
    if claimed.sentinels:
        first, count = claimed.sentinels.get(0, -1), len(claimed.sentinels)
        if claimed.sentinels != {number: first - number for number in range(count)}:
            raise UserError(
                f"{source}: its {count} sentinels <extra_id_...> are not numbered downwards one by one, as "
                "T5's are; a vocabulary with others cannot be kept"
            )
        if first - count + 1 < plain.pieces:
            raise UserError(
                f"{source}: its sentinels begin at id {first - count + 1}, among the {plain.pieces} pieces "
                f"of {plain.file.name}; bring the tokenizer files of one model"
            )
        return first, count
    extra = _extra_ids(source, settings, T5_SENTINELS)
    return (plain.pieces + extra - 1, extra) if extra else (-1, 0)


def _extra_ids(source: Path, settings: Mapping[str, Any], usual: int) -> int:
    found = settings.get("extra_ids", usual)
    if type(found) is not int or not 0 <= found <= 10_000:
        said = str(found)[:20]
        raise UserError(f"{source / SETTINGS}: extra_ids is {said!r} instead of a number; {usual} is usual")
    return found


def _bytes(source: Path, settings: Mapping[str, Any], theirs: Any, rows: int) -> FoundVocabulary:
    """ByT5's: what it was pretrained with, which its tokenizer does not write."""
    spare = _extra_ids(source, settings, BYT5_SENTINELS)
    tokens = added_token_files.read(source, settings, theirs).tokens
    for token in tokens:
        if token.id < byte_vocabulary.IDS + spare:
            raise UserError(
                f"{source}: {added_tokens.described([token])} is an added token with id {token.id}, which is "
                "a byte's or a sentinel's; bring the tokenizer files of one model"
            )
    content = byte_vocabulary.content(spare, tokens)
    vocabulary = Vocabulary(source / SETTINGS, content)
    _require_rows(vocabulary.file, vocabulary, rows)
    notes = [
        f"ByT5: <extra_id_0> to <extra_id_{byte_vocabulary.SENTINELS - 1}> are ids 258 downwards, as it was "
        "pretrained; the rows from 259 on, which its tokenizer calls so, were not"
    ]
    if tokens:
        notes.append(f"added tokens that are split off: {added_tokens.described(tokens)}")
    return FoundVocabulary(vocabulary, content, tuple(notes))


def _require_rows(file: Path, vocabulary: Vocabulary, rows: int) -> None:
    tokens = vocabulary.additions.tokens if vocabulary.additions else ()
    if beyond := [token for token in tokens if token.id >= rows]:
        raise UserError(
            f"{file.parent}: added tokens beyond the {rows} rows of the embedding: "
            f"{added_tokens.described(beyond)}; bring the tokenizer files that belong to these weights"
        )
    if vocabulary.size > rows:
        told = f' or, if the model has fewer sentinels, "extra_ids" in {SETTINGS}'
        raise UserError(
            f"{file} has {vocabulary.size} ids with its sentinels and the embedding {rows} rows: it is "
            f"another model's; bring the one this model was trained with{told}"
        )
