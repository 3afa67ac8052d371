"""The Chinese terminal of a conversation: a person at the keyboard, or a pipe of lines.

Answers stream as they are written. Ctrl-C stops an answer and keeps the conversation; twice at an empty
prompt, or the end of the input, leaves. In a pipe there is no prompt and no colour, a line is a turn, and
Ctrl-C ends it all.
"""

import contextlib
import functools
import sys
import tomllib
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from rich.console import Console

from pangu_jax.apps.language.chat.session import Answer, ChatSession, Question, TextDelta
from pangu_jax.apps.language.retrieval.prompting import Prompts
from pangu_jax.errors import UserError


@functools.cache
def texts() -> dict[str, Any]:
    """What the terminal says: terminal.toml."""
    return tomllib.loads(Path(__file__).with_name("terminal.toml").read_text("utf-8"))


def talk(
    session: ChatSession,
    prompts: Prompts,
    source: TextIO | None = None,
    console: Console | None = None,
    fold_thinking: bool = False,
) -> list[Answer]:
    """Answers turn after turn until /quit or the end of the input; gives back what was answered.

    Args:
      session: the conversation.
      prompts: how citations are written.
      source: lines; standard input when None.
      console: where it is shown; standard output when None.
      fold_thinking: show that something was thought in a line, and not what; so in a pipe in any case.
    """
    source, console = source or sys.stdin, console or Console(soft_wrap=True, highlight=False)
    say, interactive = texts(), source.isatty()
    answered: list[Answer] = []
    if interactive:
        console.print(say["welcome"], style="dim", markup=False)
    for line in _lines(source, console, interactive):
        turn = line.strip()
        command = say["aliases"].get(turn, turn)
        if not turn:
            continue
        if command == "/quit":
            break
        if command == "/help":
            for name, meaning in say["commands"].items():
                console.print(f"{name:<8} {meaning}", markup=False)
        elif command == "/clear":
            session.clear()
            console.print(say["cleared"], style="dim", markup=False)
        elif command.startswith("/"):
            console.print(say["unknown"].format(command=command), style="red", markup=False)
        else:
            shown = _Shown(console, fold_thinking or not interactive)
            answered += _answer(session, prompts, turn, shown, interactive)
    if interactive:
        console.print(say["goodbye"], style="dim", markup=False)
    return answered


def _answer(
    session: ChatSession, prompts: Prompts, turn: str, shown: "_Shown", interactive: bool
) -> list[Answer]:
    say, console = texts(), shown.console
    answered: list[Answer] = []
    try:
        with contextlib.closing(session.answer(turn)) as parts:
            for part in parts:
                match part:
                    case Question():
                        _show_question(part, console)
                    case TextDelta():
                        shown(part)
                    case Answer(passages=passages):
                        shown.finish(part)
                        _show_citations(prompts.citations(passages), session.has_knowledge, console)
                        answered.append(part)
    except UserError as error:
        console.print(str(error), style="red", markup=False, soft_wrap=True)
    except KeyboardInterrupt:
        if not interactive:
            raise
        console.print(f"\n{say['stopped']}", style="dim", markup=False)
    return answered


class _Shown:
    """An answer on its way to the terminal: thoughts dimmed or folded to a line, calls by themselves."""

    def __init__(self, console: Console, fold: bool):
        self.console, self._fold = console, fold
        self._kind, self._thought = "", 0

    def __call__(self, part: TextDelta) -> None:
        """Shows some more."""
        if part.kind != self._kind:
            self._begin(part.kind)
        if part.kind == "thinking" and self._fold:
            self._thought += len(part.text)
            return
        style = {"thinking": "dim", "call": "cyan"}.get(part.kind, "")
        text = _printable(part.text)
        self.console.print(text, end="", style=style, markup=False, highlight=False, soft_wrap=True)
        self.console.file.flush()

    def finish(self, answer: Answer) -> None:
        """The answer is whole."""
        self._begin("")
        if answer.finish == "cut" and answer.thinking and not answer.text:
            self.console.print(texts()["unanswered"], style="dim", markup=False)

    def _begin(self, kind: str) -> None:
        """Ends a part of one kind, and says what the next is where it is no text."""
        say = texts()
        if self._kind == "thinking" and self._fold:
            line = say["thought"].format(count=self._thought)
            self.console.print(line, style="dim", markup=False, highlight=False)
            self._thought = 0
        elif self._kind or not kind:
            self.console.print()
        if kind == "thinking" and not self._fold:
            self.console.print(say["thinking"], style="dim", markup=False)
        if kind == "call":
            self.console.print(say["call"], style="cyan", end="", markup=False)
        self._kind = kind


def _show_question(asked: Question, console: Console) -> None:
    say = texts()
    if asked.forgotten:
        console.print(say["forgotten"].format(count=asked.forgotten), style="dim", markup=False)
    if asked.count > 1:
        line = say["asked"].format(number=asked.number, count=asked.count, question=asked.text)
        console.print(line, style="bold", markup=False, highlight=False, soft_wrap=True)


def _show_citations(citations: list[str], has_knowledge: bool, console: Console) -> None:
    say = texts()
    if not has_knowledge:
        return
    if not citations:
        console.print(say["no_citations"], style="dim", markup=False)
        return
    console.print(say["citations"], style="dim", markup=False)
    for citation in citations:
        console.print(f"  {_printable(citation)}", style="dim", markup=False, highlight=False, soft_wrap=True)


def _printable(text: str) -> str:
    """Without control characters: neither a model nor a file may move the cursor or rename the window."""
    return "".join(letter for letter in text if letter in "\n\t" or unicodedata.category(letter) != "Cc")


def _lines(source: TextIO, console: Console, interactive: bool) -> Iterator[str]:
    if not interactive:
        yield from source
        return
    with contextlib.suppress(ImportError):
        import readline  # noqa: F401 - gives `input` editing and a history of lines, wide characters included
    say = texts()
    warned = False
    while True:
        try:
            line = input(say["prompt"])  # not console.input: readline has to know the prompt to redraw a line
        except (EOFError, KeyboardInterrupt) as left:
            if warned or isinstance(left, EOFError):
                console.print()
                return
            warned = True
            console.print(f"\n{say['interrupted']}", style="dim", markup=False)
            continue
        warned = False
        yield line
