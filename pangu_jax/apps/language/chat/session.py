"""A conversation: a turn's questions one by one, passages found for each, and a bounded history."""

from collections import deque
from collections.abc import Callable, Generator, Iterator
from typing import Literal, NamedTuple

import numpy as np

from pangu_jax.apps.language.chat.reading import Exchange, Model, Reading, Templated
from pangu_jax.apps.language.chat.turns import Kind, Span, calls_of, text_of, thought_of
from pangu_jax.apps.language.decoding.queries import Query
from pangu_jax.apps.language.decoding.text_stream import TextStream
from pangu_jax.apps.language.retrieval.knowledge import Knowledge, Passage
from pangu_jax.apps.language.retrieval.prompting import Prompts
from pangu_jax.errors import UserError


class Question(NamedTuple):
    """A question is about to be answered."""

    text: str
    number: int
    count: int
    passages: tuple[Passage, ...]
    forgotten: int  # earlier turns that did not fit into the window


class TextDelta(NamedTuple):
    """Some more of the answer's text, or of what is thought or called before it."""

    text: str
    kind: Kind = "text"


class Answer(NamedTuple):
    """The answer is whole.

    Attributes:
      question: what was asked.
      text: the answer, without thoughts and calls.
      passages: that were read for it.
      score: log p of all that was written.
      finish: what ended it, as of `Generated`.
      thinking: what was thought before it.
      calls: of tools, as they were written; nothing here carries them out.
    """

    question: str
    text: str
    passages: tuple[Passage, ...]
    score: float
    finish: Literal["end", "cut"]
    thinking: str = ""
    calls: tuple[str, ...] = ()


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
      reading: how the conversation is put to the model; by the templates when None.
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
        reading: Reading | None = None,
    ):
        self._stream, self._knowledge = stream, knowledge
        self._reading = reading or Templated(model, prompts)
        self._window, self._passages = window, passages
        self._history: deque[Exchange] = deque(maxlen=turns)

    @property
    def history(self) -> tuple[tuple[str, str], ...]:
        """Questions and answers that the next question is read with, oldest first."""
        return tuple((exchange.question, text_of(exchange.answer)) for exchange in self._history)

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
        asked = self._reading.questions(turn)
        for number, question in enumerate(asked):
            # A later question may leave out what it is about: 地址在哪？评分呢？ The first one says it.
            sought = question if number == 0 else f"{question} {asked[0]}"
            found = self._knowledge.search(sought, self._passages) if self._knowledge else []
            query, passages, forgotten = self._fitted(question, found)
            yield Question(question, number + 1, len(asked), passages, forgotten)
            tokens: list[int] = []
            written = self._stream(query)
            yield from self._pieces(written, tokens)
            spans = self._spans(tokens)
            self._history.append(Exchange(question, tuple(spans)))
            assert written.generated is not None, "its last token was taken"
            yield Answer(
                question,
                text_of(spans),
                passages,
                written.generated.score,
                written.generated.finish,
                thought_of(spans),
                calls_of(spans),
            )

    def _fitted(self, question: str, found: list[Passage]) -> tuple[Query, tuple[Passage, ...], int]:
        """The prompt as it fits the window, the passages in it, and the turns left out."""
        history, passages = list(self._history), list(found)
        while True:
            query = self._reading.query(question, passages, history)
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

    def _pieces(self, stream: TextStream, written: list[int]) -> Iterator[TextDelta]:
        """The answer's parts as they come; a character whose bytes are not all there yet waits."""
        shown: list[str] = []  # of each part
        for token in stream:
            written.append(token)
            yield from _fresh(self._spans(written), shown, whole=False)
        yield from _fresh(self._spans(written), shown, whole=True)

    def _spans(self, written: list[int]) -> list[Span]:
        return self._reading.spans(np.array(written, np.int32))


def _fresh(spans: list[Span], shown: list[str], whole: bool) -> Iterator[TextDelta]:
    """What was not shown yet of the parts; `shown` is brought up to it."""
    shown += [""] * (len(spans) - len(shown))
    for number, span in enumerate(spans):
        going_on = not whole and number == len(spans) - 1
        ready = span.text.rstrip("\ufffd") if going_on else span.text
        if ready.startswith(shown[number]) and len(ready) > len(shown[number]):
            piece, shown[number] = ready[len(shown[number]) :], ready
            yield TextDelta(piece, span.kind)
