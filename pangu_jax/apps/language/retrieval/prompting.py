"""What a model reads: passages, earlier turns and the question, in templates of plain data."""

import functools
import tomllib
from collections.abc import Sequence
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from string import Formatter

from pangu_jax.apps.language.retrieval.knowledge import Passage
from pangu_jax.errors import UserError

_ALLOWED = {
    "plain": {"history", "question"},
    "with_knowledge": {"passages", "history", "question"},
    "asked_with_knowledge": {"passages", "question"},
    "passage": {"number", "text"},
    "turn": {"question", "answer"},
    "citation": {"number", "source", "excerpt"},
}


@dataclass(frozen=True)
class Prompts:
    """The templates of prompts.toml."""

    plain: str
    with_knowledge: str
    passage: str
    turn: str
    citation: str
    excerpt_characters: int
    asked_with_knowledge: str = "资料：\n{passages}\n问题：{question}"

    def asked(self, question: str, passages: Sequence[Passage] = ()) -> str:
        """What a person asks in a turn: the question, and the passages that belong to it before it."""
        if not passages:
            return question
        return self.asked_with_knowledge.format(question=question, passages=self._shown(passages))

    def prompt(
        self, question: str, passages: Sequence[Passage] = (), history: Sequence[tuple[str, str]] = ()
    ) -> str:
        """The encoder's text. Passages are numbered from 1, as they are cited; history is oldest first."""
        turns = "".join(self.turn.format(question=asked, answer=answer) for asked, answer in history)
        if not passages:
            return self.plain.format(question=question, history=turns)
        return self.with_knowledge.format(question=question, history=turns, passages=self._shown(passages))

    def _shown(self, passages: Sequence[Passage]) -> str:
        """Numbered, a line each."""
        return "".join(
            self.passage.format(number=number, text=" ".join(passage.text.split()))
            for number, passage in enumerate(passages, 1)
        )

    def citations(self, passages: Sequence[Passage]) -> list[str]:
        """One line per passage: its number, its place, and how it begins."""
        lines = []
        for number, passage in enumerate(passages, 1):
            text = " ".join(passage.text.split())
            cut = text[: self.excerpt_characters] + ("…" if len(text) > self.excerpt_characters else "")
            lines.append(self.citation.format(number=number, source=passage.source, excerpt=cut))
        return lines


@functools.cache
def load(file: str | Path | None = None) -> Prompts:
    """The templates of a file; those that come with the library when None.

    Raises:
      UserError: the file cannot be read, or a template is missing, or names what is not put in.
    """
    path = Path(file) if file else Path(__file__).with_name("prompts.toml")
    try:
        found = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise UserError(f"cannot read the prompts {path}: {error.strerror}") from error
    except ValueError as error:
        raise UserError(f"{path} is not TOML: {error}") from error
    wanted = {field.name for field in fields(Prompts) if field.default is MISSING}
    optional = {field.name for field in fields(Prompts)} - wanted
    if wrong := wanted.symmetric_difference(found.keys() - optional):
        raise UserError(f"{path}: has to give {', '.join(sorted(wanted))}; wrong: {', '.join(sorted(wrong))}")
    for name, allowed in _ALLOWED.items():
        if name not in found:
            continue
        try:
            named = {part[1] for part in Formatter().parse(found[name]) if part[1] is not None}
        except (ValueError, TypeError) as error:
            raise UserError(f"{path}: {name} is no template: {error}") from error
        if wrong := named - allowed:
            raise UserError(
                f"{path}: {name} names {', '.join(map(repr, sorted(wrong)))}; "
                f"there are {', '.join(sorted(allowed))}"
            )
    return Prompts(**found)
