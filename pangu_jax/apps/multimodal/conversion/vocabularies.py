"""The vocabulary beside a model of transformers: read, and written back."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from data_pipelines.errors import DataError
from data_pipelines.pairs.vocabulary import CaptionVocabulary
from data_pipelines.pairs.word_pieces import SIGLIP, SiglipVocabulary, WordPieceVocabulary
from pangu_jax.apps.multimodal.conversion.kind import ModelKind
from pangu_jax.errors import UserError
from pangu_jax.runs.exchange.json_entries import entries

PIECES, TOKENIZER, SETTINGS = "vocab.txt", "tokenizer.json", "tokenizer_config.json"
# What a tokenizer.json of word pieces may say, and what is done here.
READ: dict[str, dict[str, Any]] = {
    "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##"},
    "normalizer": {
        "type": "BertNormalizer",
        "clean_text": True,
        "handle_chinese_chars": True,
        "strip_accents": None,
    },
}


def read(folder: Path, kind: ModelKind, rows: int) -> CaptionVocabulary:
    """Of a model.

    Args:
      folder: where its files are.
      kind: of the model.
      rows: of its table of embeddings.
    Raises:
      UserError: there is none, or it is another model's.
    """
    try:
        found = _siglip(folder) if kind.model_type == "siglip" else _word_pieces(folder)
    except DataError as error:
        raise UserError(f"{folder}: {error}") from None
    if found.size > rows:
        raise UserError(
            f"{folder}: the vocabulary has {found.size} ids and the model {rows}: it is another's"
        )
    return found


def _siglip(folder: Path) -> SiglipVocabulary:
    if not (folder / SIGLIP).is_file():
        raise UserError(f"{folder} has no {SIGLIP}, SigLIP's vocabulary: copy it too")
    return SiglipVocabulary.from_file(folder / SIGLIP)


def _word_pieces(folder: Path) -> WordPieceVocabulary:
    """vocab.txt and what tokenizer_config.json says of case; or tokenizer.json, all that version 5 writes."""
    if (folder / PIECES).is_file():
        lower = (
            entries(folder / SETTINGS).get("do_lower_case", True) if (folder / SETTINGS).is_file() else True
        )
        try:
            pieces = (folder / PIECES).read_text("utf-8").split("\n")
        except (OSError, ValueError) as error:
            raise UserError(f"cannot read {folder / PIECES} ({error}): copy it again") from None
        pieces = [piece.rstrip("\r") for piece in pieces]
        return WordPieceVocabulary(pieces[:-1] if pieces[-1] == "" else pieces, lower is not False)
    if not (folder / TOKENIZER).is_file():
        raise UserError(
            f"{folder} has neither {PIECES} nor {TOKENIZER}, its vocabulary: copy one of them too"
        )
    where, theirs = folder / TOKENIZER, entries(folder / TOKENIZER)
    model, normalizer = (_part(theirs, name, wanted, where) for name, wanted in READ.items())
    ids = model.get("vocab")
    if not isinstance(ids, dict) or sorted(map(str, ids.values())) != sorted(map(str, range(len(ids)))):
        raise UserError(f"{where}: its vocab has no id for each piece, from 0 on; copy it again")
    return WordPieceVocabulary(sorted(ids, key=ids.__getitem__), normalizer.get("lowercase") is not False)


def _part(theirs: Mapping[str, Any], name: str, wanted: Mapping[str, Any], where: Path) -> dict[str, Any]:
    part = theirs.get(name)
    if not isinstance(part, dict):
        raise UserError(f"{where} has no {name}: only one of word pieces is read")
    for key, value in wanted.items():
        if part.get(key) != value:
            raise UserError(f"{where}: {key} of its {name} is {part.get(key)!r}, and only {value!r} is read")
    return part


def written(vocabulary: CaptionVocabulary, kind: ModelKind, where: str) -> Mapping[str, bytes]:
    """Names and contents of the files that transformers reads a vocabulary from.

    Raises:
      UserError: it is of another kind.
    """
    settings: dict[str, Any] = {"model_max_length": kind.length}
    if kind.model_type == "siglip" and isinstance(vocabulary, SiglipVocabulary):
        name, content = vocabulary.file()
        settings |= {"tokenizer_class": "SiglipTokenizer", "do_lower_case": True}
        return {name: content, SETTINGS: _json(settings)}
    if kind.model_type != "siglip" and isinstance(vocabulary, WordPieceVocabulary):
        settings |= {"tokenizer_class": "BertTokenizer", "do_lower_case": vocabulary.lower}
        content = "".join(f"{piece}\n" for piece in vocabulary.pieces).encode()
        return {PIECES: content, SETTINGS: _json(settings)}
    raise UserError(
        f"{where}: captions are cut by a {type(vocabulary).__name__}, and {kind.name} has no such vocabulary"
    )


def _json(value: Mapping[str, Any]) -> bytes:
    return (json.dumps(value, indent=2, sort_keys=True) + "\n").encode()
