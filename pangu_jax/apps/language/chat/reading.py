"""What a model reads of a conversation, and what is what in its answer: by templates, or by its own turns."""

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

import numpy as np

from pangu_jax.apps.language.chat import questions
from pangu_jax.apps.language.chat.turns import (
    ASKED_BY,
    Span,
    Thinking,
    Turn,
    Turns,
    text_of,
    without_thoughts,
)
from pangu_jax.apps.language.decoding.queries import Query
from pangu_jax.apps.language.retrieval.knowledge import Passage
from pangu_jax.apps.language.retrieval.prompting import Prompts
from pangu_jax.errors import UserError


class Model(Protocol):
    """Text to tokens and back, such as `pangu_jax.apps.language.loaded.LoadedModel`."""

    def query(self, text: str) -> Query:
        """What asks the model to continue a text."""
        ...

    def decode(self, tokens: np.ndarray) -> str:
        """Text of decoder tokens."""
        ...


class Exchange(NamedTuple):
    """A question and the parts of its answer."""

    question: str
    answer: tuple[Span, ...]


class Reading(Protocol):
    """How a conversation is put to a model."""

    def questions(self, turn: str) -> list[str]:
        """What is asked one after the other of what a person says. UserError where that cannot be read."""
        ...

    def query(self, question: str, passages: Sequence[Passage], history: Sequence[Exchange]) -> Query:
        """What asks for an answer; history is oldest first."""
        ...

    def spans(self, tokens: np.ndarray) -> list[Span]:
        """The parts of what is written so far, int32 [n]."""
        ...


class Templated:
    """For a model that continues text: templates, and several questions of a turn one by one."""

    def __init__(self, model: Model, prompts: Prompts):
        self._model, self._prompts = model, prompts

    def questions(self, turn: str) -> list[str]:
        """The turn's questions, separated by rules."""
        return questions.split(turn)

    def query(self, question: str, passages: Sequence[Passage], history: Sequence[Exchange]) -> Query:
        """The templates, filled in."""
        earlier = [(exchange.question, text_of(exchange.answer)) for exchange in history]
        return self._model.query(self._prompts.prompt(question, passages, earlier))

    def spans(self, tokens: np.ndarray) -> list[Span]:
        """All of it is text."""
        return [Span("text", self._model.decode(tokens))] if len(tokens) else []


class Conversation:
    """For a model that has learnt turns; it is asked a turn as it is.

    Args:
      turns: its vocabulary's.
      after: what asks it to go on after tokens, such as `LoadedModel.after`.
      prompts: how passages are put into a question.
      system: what the system says first; "" is an empty turn, as the models were evaluated.
      thinking: how an answer is to be thought about.
    """

    def __init__(
        self,
        turns: Turns,
        after: Callable[[np.ndarray], Query],
        prompts: Prompts,
        system: str = "",
        thinking: Thinking = "slow",
    ):
        self._turns, self._after, self._prompts = turns, after, prompts
        self._system, self._asked_by = system, ASKED_BY[thinking]

    def questions(self, turn: str) -> list[str]:
        """The turn itself."""
        if not (turn := turn.strip()):
            raise UserError("an empty prompt: write a question")
        return [turn]

    def query(self, question: str, passages: Sequence[Passage], history: Sequence[Exchange]) -> Query:
        """The turns up to the assistant's next. Of earlier answers the thoughts are not read again."""
        said = [Turn.of("system", self._system)]
        for exchange in history:
            said.append(Turn.of("user", exchange.question + self._asked_by))
            said.append(Turn("assistant", without_thoughts(exchange.answer)))
        asked = self._prompts.asked(question, passages)
        return self._after(self._turns.prompt([*said, Turn.of("user", asked + self._asked_by)]))

    def spans(self, tokens: np.ndarray) -> list[Span]:
        """Thoughts, calls and text, without white space before each."""
        return [span._replace(text=span.text.lstrip()) for span in self._turns.spans(tokens)]
