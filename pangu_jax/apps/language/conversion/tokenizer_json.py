"""tokenizer.json, all that version 5 of transformers writes of a T5's vocabulary, as a sentencepiece model.

Its model is sentencepiece's unigram, piece for piece, and its normalizer holds sentencepiece's own table;
what a sentencepiece model has no place for is refused by name.
"""

import base64
import binascii
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from data_pipelines.text.vocabulary.added_tokens import SENTINEL
from pangu_jax.errors import UserError

RESERVED = ("<pad>", "</s>", "<unk>")
SPACE = "\u2581"  # what sentencepiece writes for a space


def to_sentencepiece(theirs: Mapping[str, Any], file: Path) -> bytes:
    """The sentencepiece model of a tokenizer.json, without the sentinels that end its pieces.

    Args:
      theirs: its entries.
      file: itself, for messages.
    Raises:
      UserError: it is no T5's, or does what sentencepiece does not.
    """
    from sentencepiece import sentencepiece_model_pb2

    pieces, unknown, by_bytes = _unigram(theirs.get("model"), file)
    charsmap = _charsmap(theirs.get("normalizer"), file)
    kinds = sentencepiece_model_pb2.ModelProto.SentencePiece
    kind_of = {RESERVED[0]: kinds.CONTROL, RESERVED[1]: kinds.CONTROL, RESERVED[2]: kinds.UNKNOWN}
    bytes_of = {f"<0x{byte:02X}>" for byte in range(256)} if by_bytes else set()
    proto = sentencepiece_model_pb2.ModelProto()
    for piece, score in pieces:
        kind = kinds.BYTE if piece in bytes_of else kind_of.get(piece, kinds.NORMAL)
        kind = kinds.USER_DEFINED if SENTINEL.fullmatch(piece.removeprefix(SPACE)) else kind
        proto.pieces.add(piece=piece, score=score, type=kind)
    trainer = proto.trainer_spec
    trainer.model_type = trainer.UNIGRAM
    trainer.vocab_size, trainer.byte_fallback = len(pieces), by_bytes
    trainer.pad_id, trainer.eos_id, trainer.unk_id, trainer.bos_id = 0, 1, unknown, -1
    trainer.pad_piece, trainer.eos_piece, trainer.unk_piece = RESERVED
    normalizer = proto.normalizer_spec
    normalizer.name = "user_defined" if charsmap else "identity"
    normalizer.precompiled_charsmap = charsmap
    normalizer.add_dummy_prefix = prefix_scheme(theirs, file) != "never"
    normalizer.remove_extra_whitespaces = normalizer.escape_whitespaces = True
    return proto.SerializeToString()


def prefix_scheme(theirs: Mapping[str, Any], file: Path) -> str:
    """Where a space is put before text: "always" after every added token, "first" at the beginning, "never".

    Raises:
      UserError: texts are cut in another way than sentencepiece does it.
    """
    schemes = []
    for step in _steps(theirs.get("pre_tokenizer"), "pretokenizers"):
        kind = step.get("type")
        if kind == "Metaspace" and step.get("replacement") == SPACE:
            old = "always" if step.get("add_prefix_space", True) else "never"
            schemes.append(step.get("prepend_scheme", old))
        elif kind != "WhitespaceSplit":
            raise _no_place(file, f"pre_tokenizer {kind!r}")
    if len(schemes) != 1 or schemes[0] not in ("always", "first", "never"):
        raise _no_place(file, "a pre_tokenizer without Metaspace")
    return schemes[0]


def _unigram(model: Any, file: Path) -> tuple[list[tuple[str, float]], int, bool]:
    """Pieces with their scores, the id of <unk>, and whether what is unknown is spelt in bytes."""
    if not isinstance(model, Mapping) or model.get("type") != "Unigram":
        kind = model.get("type") if isinstance(model, Mapping) else None
        raise UserError(
            f"{file} holds a model of type {str(kind)[:20]!r} instead of T5's Unigram, which is the only one "
            "that is read; import a T5 with a sentencepiece vocabulary"
        )
    try:
        pieces = [(piece, float(score)) for piece, score in model["vocab"]]
        sound = all(isinstance(piece, str) and piece for piece, _ in pieces)
    except (KeyError, TypeError, ValueError):
        pieces, sound = [], False
    names = [piece for piece, _ in pieces]
    if not sound or len(set(names)) != len(names):
        raise UserError(f"{file}: its vocab is no list of different pieces with scores; copy it again")
    if tuple(names[:3]) != RESERVED or model.get("unk_id") != 2:
        raise UserError(
            f"{file} begins with {', '.join(name[:20] for name in names[:3])} instead of T5's "
            f"{', '.join(RESERVED)}; only T5's vocabularies are read"
        )
    ends = 0  # sentinels in falling order, which are no pieces of spiece.model either
    while (last := SENTINEL.fullmatch(names[-1 - ends])) and int(last[1]) == ends:
        ends += 1
    return pieces[: len(pieces) - ends], 2, bool(model.get("byte_fallback"))


def _charsmap(normalizer: Any, file: Path) -> bytes:
    """sentencepiece's table of what becomes of characters; empty where text is kept."""
    found = b""
    for step in _steps(normalizer, "normalizers"):
        kind = step.get("type")
        if kind == "Precompiled":
            try:
                found = base64.b64decode(step.get("precompiled_charsmap") or "", validate=True)
            except (binascii.Error, TypeError, ValueError):
                raise UserError(f"{file}: its precompiled_charsmap is damaged; copy it again") from None
        elif kind not in ("Strip", "Replace") or (kind == "Replace" and not _joins_spaces(step)):
            raise _no_place(file, f"normalizer {kind!r}")
    return found


def _joins_spaces(step: Mapping[str, Any]) -> bool:
    """Whether several spaces become one, which is what sentencepiece does too."""
    return step.get("pattern") == {"Regex": " {2,}"} and step.get("content") in (" ", SPACE)


def _steps(part: Any, of: str) -> list[Mapping[str, Any]]:
    if part is None:
        return []
    if not isinstance(part, Mapping):
        return [{"type": None}]
    if part.get("type") != "Sequence":
        return [part]
    return [step for inner in part.get(of) or [] for step in _steps(inner, of)]


def _no_place(file: Path, what: str) -> UserError:
    return UserError(
        f"{file}: {what[:60]} is nothing that a sentencepiece model does; bring the spiece.model that "
        "it was made of"
    )
