"""The turns of openPangu's conversations, as tokens: who speaks, what is thought, which tools are called.

`[unused9]ROLE：TEXT[unused10]` for each turn, an empty one of the system first where it says nothing, and
`[unused9]助手：` where the model is to go on; the vocabulary's start stands before all of it (the template of
tokenizer_config.json, openPangu-Embedded-7B-V1.1). An answer may begin with [unused16] THOUGHT [unused17] and
hold [unused11] CALLS [unused12]. Only what is put here is such a token: a text that spells one is letters.
"""

import re
from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

import numpy as np

from data_pipelines.text.vocabulary import Vocabulary
from pangu_jax.errors import UserError

ROLES = {"system": "系统", "user": "用户", "assistant": "助手", "tool": "工具", "function": "方法"}
Thinking = Literal["slow", "auto", "off"]
# What the end of a user's text says of how to answer: slow thinking is what the models do of themselves.
ASKED_BY: dict[Thinking, str] = {"slow": "", "auto": " /auto_think", "off": " /no_think"}
Kind = Literal["text", "thinking", "call"]
MARKS = {
    "begin": "[unused9]",
    "end": "[unused10]",
    "call": "[unused11]",
    "call_end": "[unused12]",
    "thinking": "[unused16]",
    "thinking_end": "[unused17]",
}
_MARKED = re.compile(
    "|".join(
        f"{re.escape(MARKS[kind])}(?P<{kind}>.*?){re.escape(MARKS[f'{kind}_end'])}"
        for kind in ("thinking", "call")
    ),
    re.DOTALL,
)


class AnswerPart(NamedTuple):
    """A part of an answer: text, a thought, or calls of tools."""

    kind: Kind
    text: str


class ChatTurn(NamedTuple):
    """What one says.

    Attributes:
      role: of `ROLES`.
      spans: in their order.
    """

    role: str
    spans: tuple[AnswerPart, ...]

    @classmethod
    def of(cls, role: str, text: str) -> "ChatTurn":
        """One of plain text."""
        return cls(role, (AnswerPart("text", text),))


class Turns:
    """The turns of a vocabulary.

    Args:
      vocabulary: that has the marks.
    Raises:
      UserError: it has not.
    """

    def __init__(self, vocabulary: Vocabulary):
        found = {name: vocabulary.added(mark) for name, mark in MARKS.items()}
        if missing := [MARKS[name] for name, id in found.items() if id is None]:
            raise UserError(
                f"{vocabulary.file} has no {', '.join(missing)}: this model speaks no turns of a conversation"
            )
        self._ids = {name: id for name, id in found.items() if id is not None}
        if self._ids["end"] != vocabulary.special.eos:
            raise UserError(
                f"{vocabulary.file}: a text ends in id {vocabulary.special.eos}, and a turn in id "
                f"{self._ids['end']}, {MARKS['end']}: it was not made for turns; import the model anew"
            )
        self._vocabulary = vocabulary

    @classmethod
    def of(cls, vocabulary: Vocabulary) -> "Turns | None":
        """The turns of a vocabulary; None where it has none."""
        published = vocabulary.additions is not None and vocabulary.additions.published is not None
        ends_so = published and vocabulary.special.eos == vocabulary.added(MARKS["end"])
        return cls(vocabulary) if ends_so else None

    def prompt(self, turns: Sequence[ChatTurn]) -> np.ndarray:
        """What the model goes on as its assistant, int32 [n], without the vocabulary's start.

        Raises:
          UserError: a role that is none, or a system that does not speak first.
        """
        for number, turn in enumerate(turns, start=1):
            if turn.role not in ROLES:
                raise UserError(f"turn {number} is of {turn.role!r}: there are {', '.join(ROLES)}")
            if number > 1 and turn.role == "system":
                raise UserError(f"turn {number} is the system's, which speaks first and once")
        if not turns or turns[0].role != "system":
            turns = [ChatTurn.of("system", ""), *turns]
        ids = [token for turn in turns for token in (*self._opened(turn.role, turn.spans), self._ids["end"])]
        return np.array([*ids, *self._opened("assistant", ())], np.int32)

    def answer(self, spans: Sequence[AnswerPart]) -> np.ndarray:
        """What the assistant writes after a prompt, its end among it, int32 [n]."""
        ids: list[int] = []
        for number, span in enumerate(spans):
            if span.kind != "text":
                ids += self._marked(span)
            elif number:
                ids += self._encoded(span.text)
            else:  # it goes on behind the role
                ids += self._vocabulary.encode_within(span.text).tolist()
        return np.array([*ids, self._ids["end"]], np.int32)

    @staticmethod
    def written(text: str) -> tuple[AnswerPart, ...]:
        """The parts of an answer in which the marks of thoughts and calls are written as text."""
        spans: list[AnswerPart] = []
        end = 0
        for found in _MARKED.finditer(text):
            if between := text[end : found.start()]:
                spans.append(AnswerPart("text", between))
            kind: Kind = "thinking" if found["thinking"] is not None else "call"
            spans.append(AnswerPart(kind, found[kind]))
            end = found.end()
        return (*spans, AnswerPart("text", text[end:])) if text[end:] or not spans else tuple(spans)

    def _marked(self, span: AnswerPart) -> list[int]:
        """A thought or calls, between their marks."""
        return [self._ids[span.kind], *self._encoded(span.text), self._ids[f"{span.kind}_end"]]

    def _opened(self, role: str, spans: Sequence[AnswerPart]) -> list[int]:
        """A turn without its end. The role and the text behind it are read as one, as the template does."""
        ids, text = [self._ids["begin"]], ROLES[role] + "："
        for span in spans:
            if span.kind == "text":
                text += span.text
                continue
            ids += self._encoded(text) + self._marked(span)
            text = ""
        return ids + self._encoded(text)

    def _encoded(self, text: str) -> list[int]:
        return self._vocabulary.encode(text).tolist() if text else []

    def spans(self, tokens: Iterable[int]) -> list[AnswerPart]:
        """The parts of what a model wrote, up to the end of its turn.

        Text may still be going on: a thought or a call whose end is not there reaches up to where tokens are.
        What stands before the end of a thought that was not begun is one, as the published code has it.
        """
        kinds: dict[int, Kind] = {self._ids["call"]: "call", self._ids["thinking"]: "thinking"}
        ends = {self._ids[f"{name}_end"]: name for name in kinds.values()}
        found: list[tuple[Kind, list[int]]] = [("text", [])]
        for token in map(int, tokens):
            if token == self._ids["end"]:
                break
            if token in kinds:
                found.append((kinds[token], []))
            elif token in ends:
                if ends[token] == "thinking" and found[-1][0] == "text":
                    found[-1] = ("thinking", found[-1][1])
                if ends[token] in ("thinking", found[-1][0]):  # what ends no call is nothing
                    found.append(("text", []))
            else:
                found[-1][1].append(token)
        decode = self._vocabulary.decode
        spans = [AnswerPart(kind, decode(ids)) for kind, ids in found]
        return [span for span in spans if span.text.strip() or span.kind == "call"]


def text_of(spans: Iterable[AnswerPart]) -> str:
    """The answer among an answer's parts: its text, without thoughts and calls."""
    return "".join(span.text for span in spans if span.kind == "text")


def thought_of(spans: Iterable[AnswerPart]) -> str:
    """What was thought."""
    return "\n".join(span.text.strip() for span in spans if span.kind == "thinking")


def calls_of(spans: Iterable[AnswerPart]) -> tuple[str, ...]:
    """The calls of tools, as they were written."""
    return tuple(span.text.strip() for span in spans if span.kind == "call")


def without_thoughts(spans: Iterable[AnswerPart]) -> tuple[AnswerPart, ...]:
    """What is read again of an answer in later turns; white space around it is not."""
    kept = [span for span in spans if span.kind != "thinking"]
    return tuple(span._replace(text=span.text.strip()) for span in kept)
