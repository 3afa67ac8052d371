"""A conversation: a turn's questions one by one, passages found for each, and a bounded history."""

from collections import deque
from collections.abc import Callable, Generator, Iterator
from typing import Literal, NamedTuple, Protocol

import numpy as np

from pangu_jax.apps.language.chat import questions
from pangu_jax.apps.language.decoding.queries import Query
from pangu_jax.apps.language.decoding.text_stream import TextStream
from pangu_jax.apps.language.retrieval.knowledge import Knowledge, Passage
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


class Question(NamedTuple):
    """A question is about to be answered."""

    text: str
    number: int
    count: int
    passages: tuple[Passage, ...]
    forgotten: int  # earlier turns that did not fit into the window


class TextDelta(NamedTuple):
    """Some more of the answer's text."""

    text: str


class Answer(NamedTuple):
    """The answer is whole; `score` is its log p and `finish` says what ended it, as of `Generated`."""

    question: str
    text: str
    passages: tuple[Passage, ...]
    score: float
    finish: Literal["end", "cut"]


class ChatSession:
    """A conversation with a model.

    Args:
      model: text to tokens and back.
      stream: a query to the decoder's tokens one by one, such as `Generator.stream` with its settings.
      prompts: templates of what the model reads.
      knowledge: where passages are looked for; None answers from the model alone.
      window: tokens that the model may read; earlier turns and then the worst passages give way.
      turns: earlier questions and answers that are read again.
      passages: of each question.
    """

    def __init__(
        self,
        model: Model,
        stream: Callable[[Query], TextStream],
        prompts: Prompts,
        knowledge: Knowledge | None = None,
        *,
        window: int = 512,
        turns: int = 4,
        passages: int = 3,
    ):
        self._model, self._stream, self._prompts, self._knowledge = model, stream, prompts, knowledge
        self._window, self._passages = window, passages
        self._history: deque[tuple[str, str]] = deque(maxlen=turns)

    @property
    def history(self) -> tuple[tuple[str, str], ...]:
        """Questions and answers that the next question is read with, oldest first."""
        return tuple(self._history)

    @property
    def has_knowledge(self) -> bool:
        """Whether passages are looked for at all."""
        return self._knowledge is not None

    def clear(self) -> None:
        """Forgets the conversation."""
        self._history.clear()

    def answer(self, turn: str) -> Generator[Question | TextDelta | Answer]:
        """The turn's questions, each as `Question`, its answer in pieces, and `Answer`.

        An answer that is stopped half-way (the iterator is closed) is not remembered.

        Raises:
          UserError: the turn is empty, or a question alone is longer than the window.
        """
        asked = questions.split(turn)
        for number, question in enumerate(asked):
            # A later question may leave out what it is about: 地址在哪？评分呢？ The first one says it.
            sought = question if number == 0 else f"{question} {asked[0]}"
            found = self._knowledge.search(sought, self._passages) if self._knowledge else []
            query, passages, forgotten = self._fitted(question, found)
            yield Question(question, number + 1, len(asked), passages, forgotten)
            pieces: list[str] = []
            written = self._stream(query)
            for piece in self._pieces(written):
                pieces.append(piece)
                yield TextDelta(piece)
            text = "".join(pieces)
            self._history.append((question, text))
            assert written.generated is not None, "its last token was taken"
            yield Answer(question, text, passages, written.generated.score, written.generated.finish)

    def _fitted(self, question: str, found: list[Passage]) -> tuple[Query, tuple[Passage, ...], int]:
        """The prompt as it fits the window, the passages in it, and the turns left out."""
        history, passages = list(self._history), list(found)
        while True:
            query = self._model.query(self._prompts.prompt(question, passages, history))
            read = len(query.inputs) + len(query.prefix)
            if read <= self._window:
                return query, tuple(passages), len(self._history) - len(history)
            if history:
                history.pop(0)
            elif passages:
                passages.pop()
            else:
                raise UserError(
                    f"the question has {read} tokens and the window {self._window}: "
                    "ask a shorter one, or raise --window"
                )

    def _pieces(self, stream: TextStream) -> Iterator[str]:
        """The answer's text as it comes; a character whose bytes are not all there yet waits."""
        written: list[int] = []
        shown = ""
        for token in stream:
            written.append(token)
            text = self._model.decode(np.array(written, np.int32))
            ready = text.rstrip("\ufffd")
            if ready.startswith(shown) and len(ready) > len(shown):
                piece, shown = ready[len(shown) :], ready
                yield piece
        text = self._model.decode(np.array(written, np.int32)) if written else ""
        if text != shown and text.startswith(shown):
            yield text[len(shown) :]
