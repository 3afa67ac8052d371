"""Filling the gaps of a text: what span corruption taught a model, asked for by `<extra_id_0>`, ..."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from data_pipelines.text.vocabulary import SpecialTokens
from data_pipelines.text.vocabulary.added_tokens import SENTINEL, sentinels_in
from pangu_jax.apps.language.decoding.queries import Query
from pangu_jax.apps.language.loaded import LoadedModel
from pangu_jax.errors import UserError

MODE = "[R]"  # UL2's mode of span corruption with short spans


class Filled(NamedTuple):
    """A text whose gaps were filled.

    Attributes:
      text: the text; a gap that the model wrote nothing for is still there as `<extra_id_N>`.
      spans: what was written for each gap, None where it was passed over.
    """

    text: str
    spans: tuple[str | None, ...]


def query(model: LoadedModel, text: str, where: str, mode: str | None = None) -> Query:
    """What asks a model to fill a text: the decoder begins with the first sentinel, as every target does.

    Args:
      model: any that was trained with span corruption, such as T5 and mT5 as they were released.
      text: with `<extra_id_0>`, `<extra_id_1>`, ... for the gaps, in this order.
      where: names it in messages.
      mode: the mode token; [R] where None and the vocabulary has modes.
    Raises:
      UserError: the gaps are not numbered so, there is none, or the model cannot be asked this.
    """
    special = model.vocabulary.special
    if model.causal_only or model.decoder_alone or not special.sentinels:
        why = (
            "has a vocabulary without sentinels" if not special.sentinels else "learned causal modelling only"
        )
        raise UserError(f"this run {why} and cannot fill gaps; `pangu generate` writes on from a prompt")
    numbers = sentinels_in(text)
    if not numbers:
        raise UserError(f"{where}: there is no gap in it; write <extra_id_0> where text is to be filled in")
    if numbers != list(range(len(numbers))):
        raise UserError(
            f"{where}: its gaps are numbered {', '.join(map(str, numbers[:8]))}; write <extra_id_0>, "
            "<extra_id_1> and so on, each once and in this order"
        )
    if len(numbers) > special.sentinels:
        raise UserError(
            f"{where}: {len(numbers)} gaps, and the vocabulary has {special.sentinels} sentinels; "
            "fill it in parts"
        )
    mode = mode or (MODE if special.modes else None)
    return Query(model.encode_inputs(text, mode, sentinels=True), np.array([special.sentinel(0)], np.int32))


def fill(model: LoadedModel, text: str, tokens: np.ndarray) -> Filled:
    """A text with what was written for its gaps.

    Args:
      model: that wrote.
      text: that `query` asked with.
      tokens: int32 [n], written after the query's prefix.
    """
    pieces = _spans(tokens, model.vocabulary.special, len(sentinels_in(text)))
    spans = tuple(None if piece is None else model.decode(np.array(piece, np.int32)) for piece in pieces)

    def written(number: int, sentinel: str) -> str:
        span = spans[number]
        return sentinel if span is None else span

    return Filled(SENTINEL.sub(lambda found: written(int(found[1]), found[0]), text), spans)


def _spans(tokens: Sequence[int] | np.ndarray, special: SpecialTokens, count: int) -> list[list[int] | None]:
    """The tokens behind each sentinel; a sentinel out of turn, or one more than was asked for, ends them."""
    spans: list[list[int] | None] = [[], *[None] * (count - 1)]
    current = spans[0]
    last = 0
    for token in map(int, tokens):
        number = special.first_sentinel - token
        if 0 <= number < special.sentinels:
            if not last < number < count:
                break
            last, current = number, []
            spans[number] = current
        elif current is not None:
            current.append(token)
    return spans
