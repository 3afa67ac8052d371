"""Vocabularies as they were published: their ids stay, and what their file does not say is put behind it."""

import re
from collections.abc import Sequence

from data_pipelines.errors import DataError
from data_pipelines.text.vocabulary.added_tokens import (
    AddedToken,
    Additions,
    PublishedIds,
    described,
    split_file,
    written,
)
from data_pipelines.text.vocabulary.jieba_words import NAME as JIEBA

# Pieces that a tokenizer of openPangu adds to its own: [unused9], <|User|>: and the like.
MARK = re.compile(r"\[unused\d+\]|<\|[^|<>\s]+\|>:?")
# PanGu-alpha says <eot> = 9 where a text ends, and nothing before its beginning.
PANGU_ALPHA = PublishedIds(start=-1, end=9, pad=6, words=JIEBA)


def published(content: bytes, ids: PublishedIds, tokens: Sequence[AddedToken] | None = None) -> bytes:
    """Our file of a published sentencepiece model: that model byte for byte, and what `ids` says after it.

    Args:
      content: the published file.
      ids: what stands for the start, the end and padding, and how text is cut: `PANGU_ALPHA`, or
        PublishedIds(start=1, end=45892, pad=0) for openPangu.
      tokens: what its tokenizer splits off, each a piece of the model (`added_tokens_decoder` of
        tokenizer_config.json); None finds pieces that are written like marks, such as [unused9].
    Raises:
      DataError: it is no sentencepiece model, an id is not in it, or a token is not the piece of its id.
    """
    pieces = _pieces(content)
    if tokens is None:
        tokens = [AddedToken(text, id) for id, text in enumerate(pieces) if MARK.fullmatch(text)]
    for token in tokens:
        if not 0 <= token.id < len(pieces) or pieces[token.id] not in (token.text, "▁" + token.text):
            raise DataError(
                f"{described([token])} is an added token with id {token.id}, which is another piece's or "
                f"beyond the {len(pieces)} of the model: bring the tokenizer files of one model"
            )
    for name, id in (("start", max(ids.start, 0)), ("end", ids.end), ("pad", ids.pad)):
        if not 0 <= id < len(pieces):
            raise DataError(
                f"the {name} of a text is id {id}, and the tokenizer's model has {len(pieces)} pieces: bring "
                "the tokenizer files of one model"
            )
    return written(content, Additions(-1, 0, tuple(tokens), published=ids))


def original(content: bytes) -> bytes:
    """The published file that `published` was given, byte for byte."""
    return split_file(content)[0]


def is_published(content: bytes) -> bool:
    """Whether a model file keeps the ids that it was published with."""
    additions = split_file(content)[1]
    return additions is not None and additions.published is not None


def _pieces(content: bytes) -> list[str]:
    import sentencepiece

    if split_file(content)[1] is not None:
        raise DataError("the tokenizer's model is a vocabulary of a run here: give the published one")
    try:
        model = sentencepiece.SentencePieceProcessor(model_proto=content)
    except RuntimeError:
        raise DataError("the tokenizer's model is not a sentencepiece model") from None
    if not model.get_piece_size():
        raise DataError("the tokenizer's model is not a sentencepiece model: it holds no pieces")
    return [model.id_to_piece(id) for id in range(model.get_piece_size())]
