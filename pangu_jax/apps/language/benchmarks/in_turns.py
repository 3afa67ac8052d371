"""Benchmark questions put to a model in its own turns, as it was taught to be asked."""

from typing import NamedTuple

import numpy as np

from data_pipelines.text.benchmarks import Rendered
from pangu_jax.apps.language.chat.turns import ASKED_BY, ChatTurn, Thinking, Turns, text_of
from pangu_jax.apps.language.decoding.queries import Query
from pangu_jax.apps.language.loaded import LoadedModel
from pangu_jax.errors import UserError


class AskedInTurns(NamedTuple):
    """How examples become turns: a user's question behind an empty system, and the assistant's begin.

    Attributes:
      loaded: the model.
      turns: of its vocabulary.
      thinking: what the end of a question says of how to answer.
    """

    loaded: LoadedModel
    turns: Turns
    thinking: Thinking

    def query(self, rendered: Rendered) -> Query:
        """What a pattern asks is the user's; candidates are what the assistant may say, behind what of its
        answer the pattern gives. A pattern without a question has its beginning asked.

        Raises:
          UserError: it begins with the answer.
        """
        asked, given = rendered.inputs, rendered.prefix
        if not asked:
            asked, given = rendered.prefix, ""
        if not asked.strip():
            raise UserError(
                f"{rendered.id}: this pattern begins with its answer, which no turn asks for: take another "
                "(evaluate.pattern), or evaluate.turns = False for plain text"
            )
        read = self.turns.prompt([ChatTurn.of("user", asked + ASKED_BY[self.thinking])])
        within = self.loaded.vocabulary.encode_within
        begun = within(given) if given else np.zeros(0, np.int32)
        texts = rendered.candidates or ((rendered.reference,) if rendered.reference else ())
        query = self.loaded.after(np.concatenate([read, begun]).astype(np.int32))
        return query._replace(candidates=tuple(within(text) for text in texts))

    def text(self, tokens: np.ndarray) -> str:
        """The answer in what was written, without thoughts and calls."""
        return text_of(self.turns.spans(tokens))


def of(loaded: LoadedModel, wanted: bool | None, thinking: Thinking) -> AskedInTurns | None:
    """How a model is asked in turns; None where it is to continue plain text.

    Args:
      loaded: the model.
      wanted: whether it is; None: where it has learnt turns, and no task as plain text since.
      thinking: of `AskedInTurns`.

    Raises:
      UserError: turns are wanted of a model that has none.
    """
    if thinking not in ASKED_BY:
        raise UserError(f"evaluate.thinking = {thinking!r}: it is one of {', '.join(ASKED_BY)}")
    turns = Turns.of(loaded.vocabulary) if loaded.decoder_alone and wanted is not False else None
    if turns is None:
        if wanted:
            raise UserError("evaluate.turns = True: this model has learnt no turns; leave it out")
        return None
    taught = loaded.manifest.get("tuning", {}).get("task", "conversations")
    if wanted is None and taught != "conversations":
        return None
    return AskedInTurns(loaded, turns, thinking)
