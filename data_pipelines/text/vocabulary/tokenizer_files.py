"""A tokenizer.json as a vocabulary: which of its tokens begins a text, ends it and fills batches.

tokenizer.json itself says how text is cut and what is put around it; the names of the end and of padding are
in the files beside it (tokenizer_config.json, special_tokens_map.json), as `save_pretrained` writes them.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from data_pipelines.errors import DataError
from data_pipelines.text.vocabulary import tokenizer_json
from data_pipelines.text.vocabulary.added_tokens import (
    TOKENIZER_JSON,
    AddedToken,
    Additions,
    PublishedIds,
    written,
)
from data_pipelines.text.vocabulary.as_published import MARK
from data_pipelines.text.vocabulary.byte_level import ByteLevelPieces
from data_pipelines.text.vocabulary.tokenizer_json import TokenizerJson

SETTINGS, SPECIAL = "tokenizer_config.json", "special_tokens_map.json"
LISTS = ("additional_special_tokens", "extra_special_tokens")


def of_tokenizer_json(file: Path, end: int | None = None) -> bytes:
    """Our file of a byte-level BPE: tokenizer.json byte for byte, and after it what stands for what.

    Marks, which no text is read as, are its special tokens and those that are written like marks. Padding is
    the end where the files name none.

    Args:
      file: the tokenizer.json; other files are looked for beside it.
      end: ends a text, where the model's configuration says it; else the files have to.

    Raises:
      DataError: it is no byte-level BPE, a file is damaged, a token is named that is none, or the library
        that reads it is missing.
    """
    content = _read(file)
    theirs = tokenizer_json.read(content, str(file))
    settings = _settings(file.parent)
    ids = {text: id for id, text in enumerate(theirs.tokens)}
    marks: dict[int, AddedToken] = {}
    for token in _marks(theirs, settings, file, ids):
        marks.setdefault(token.id, token)  # as tokenizer.json has it: a list of names says nothing of spaces
    named = {name: _named(settings, f"{name}_token", file, ids) for name in ("bos", "eos", "pad")}
    ends = named["eos"] if end is None else end
    if ends is None:
        raise DataError(
            f"{file} names no end of a text: write the token that is one as "
            f'"eos_token" into {file.parent / SETTINGS}'
        )
    starts = _start(theirs, settings, named["bos"], file, ids)
    pad = ends if named["pad"] is None else named["pad"]
    if not 0 <= ends < len(ids):
        raise DataError(
            f"a text ends in id {ends}, and {file} has {len(ids)} ids: bring the tokenizer files of one model"
        )
    for id in (ends, pad, *[each for each in (starts, named["bos"]) if each is not None and each >= 0]):
        marks.setdefault(id, AddedToken(theirs.tokens[id], id))
    # Whether the library reads it is known here, and not when the first text comes.
    ByteLevelPieces(theirs, str(file)).never_reading(marks).encode("")
    tokens = tuple(marks[id] for id in sorted(marks))
    return written(
        content, Additions(-1, 0, tokens, published=PublishedIds(starts, ends, pad), model=TOKENIZER_JSON)
    )


def settings_of(additions: Additions) -> dict[str, Any]:
    """tokenizer_config.json of a vocabulary whose own was not kept: what `of_tokenizer_json` read of it."""
    ids, texts = additions.published, {token.id: token.text for token in additions.tokens}
    assert ids is not None
    found: dict[str, Any] = {"tokenizer_class": "PreTrainedTokenizerFast", "add_bos_token": ids.start >= 0}
    found |= {"eos_token": texts[ids.end], "pad_token": texts[ids.pad]}
    return found | ({"bos_token": texts[ids.start]} if ids.start >= 0 else {})


def _read(file: Path) -> bytes:
    try:
        size = file.stat().st_size
        if size > tokenizer_json.LARGEST:
            raise DataError(
                f"{file} has {size:,} bytes; a tokenizer's files have {tokenizer_json.LARGEST:,} at most"
            )
        return file.read_bytes()
    except OSError as error:
        raise DataError(f"cannot read {file}: {error.strerror}") from None


def _settings(folder: Path) -> dict[str, Any]:
    """What the files beside it say; tokenizer_config.json has the last word."""
    found: dict[str, Any] = {}
    for name in (SPECIAL, SETTINGS):
        if (file := folder / name).is_file():
            found |= tokenizer_json.json_object(_read(file), str(file))
    return found


def _marks(
    theirs: TokenizerJson, settings: Mapping[str, Any], file: Path, ids: Mapping[str, int]
) -> Iterator[AddedToken]:
    for token in theirs.added:
        if token.id in theirs.special or MARK.fullmatch(token.text):
            yield token
    listed = settings.get("added_tokens_decoder") or {}
    where = file.parent / SETTINGS
    if not isinstance(listed, Mapping):
        raise DataError(f"{where}: added_tokens_decoder is no JSON object; copy it again")
    for id, entry in listed.items():
        token = tokenizer_json.token(entry, int(id) if str(id).isdecimal() else None, str(where))
        if ids.get(token.text) != token.id:
            raise _another(where, token.text, file)
        if entry.get("special") is True or MARK.fullmatch(token.text):
            yield token
    for name in LISTS:
        value = settings.get(name) or []
        for entry in (
            value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else []
        ):
            if (text := _text(entry)) is not None and text not in ids:
                raise _another(where, text, file)
            if text is not None:
                yield AddedToken(text, ids[text])


def _named(settings: Mapping[str, Any], name: str, file: Path, ids: Mapping[str, int]) -> int | None:
    """The id of a token that is named; None where none is."""
    text = _text(settings.get(name))
    if text is not None and text not in ids:
        raise _another(file.parent / SETTINGS, text, file)
    return None if text is None else ids[text]


def _text(entry: Any) -> str | None:
    text = entry.get("content") if isinstance(entry, Mapping) else entry
    return text if isinstance(text, str) and text else None


def _another(where: Path, text: str, file: Path) -> DataError:
    return DataError(
        f"{where} has a token {text[:20]!r} that {file} has not, or with another id: bring the files of one "
        "tokenizer"
    )


def _start(
    theirs: TokenizerJson, settings: Mapping[str, Any], bos: int | None, file: Path, ids: Mapping[str, int]
) -> int:
    """What stands before a text; below 0 where nothing does. A setting overrules the file's own template."""
    if isinstance(asked := settings.get("add_bos_token"), bool):
        if asked and bos is None:
            raise DataError(
                f"{file.parent / SETTINGS}: add_bos_token is true and there is no bos_token; name it"
            )
        return bos if asked and bos is not None else -1
    before = [text for step in _template(theirs) for text in step]
    if len(before) > 1:
        raise DataError(
            f"{file} puts {len(before)} tokens before a text, {', '.join(before)[:60]}; one can be here: set "
            f"add_bos_token in {file.parent / SETTINGS}"
        )
    if before and before[0] not in ids:
        raise _another(file, before[0], file)
    return ids[before[0]] if before else -1


def _template(theirs: TokenizerJson) -> Iterator[list[str]]:
    """What each post-processor puts before a text."""
    for step in tokenizer_json.steps(theirs.entries.get("post_processor"), "processors"):
        if step["type"] == "TemplateProcessing":
            before: list[str] = []
            single = step.get("single")
            for part in single if isinstance(single, list) else []:
                special = part.get("SpecialToken") if isinstance(part, Mapping) else None
                if not isinstance(special, Mapping) or not isinstance(special.get("id"), str):
                    break
                before.append(special["id"])
            yield before
        elif step["type"] in ("RobertaProcessing", "BertProcessing"):
            yield [str(part) for part in (step.get("cls") or [])[:1]]
