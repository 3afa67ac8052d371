"""Several questions in one sentence, separated by rules: questions.toml holds them as plain words.

A turn falls into sentences and clauses. A clause that asks begins a new question; a clause that does not
belongs to the question before it in its sentence, or else to the one after. Inside a clause, nouns that can
be asked for and are in a list (地址和电话是多少) are asked one by one.
"""

import functools
import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pangu_jax.errors import UserError

LONGEST = 4000  # characters of a turn; the rules are for what people type


@dataclass(frozen=True)
class _Clause:
    text: str
    asks: bool
    tag: bool
    ends_sentence: bool


class Rules:
    """The rules of a TOML file, made ready."""

    def __init__(self, words: dict[str, Any]):
        self.words = words
        ends, commas = re.escape(words["sentence_ends"]), re.escape(words["commas"])
        self._clause = re.compile(f"[^{ends}{commas}]*(?:[{ends}]+|[{commas}]|$)")
        self._ends, self._commas = words["sentence_ends"], words["commas"]
        self._question = re.compile(_either(words["question_words"]))
        self._not_question = re.compile(_either(words["not_question_words"]))
        self._request = re.compile(_either(words["requests"]))
        self._parting = re.compile(_either(words["parting"]))
        self._connective = re.compile(f"^(?:(?:{_either(words['connectives'])})(?:，|,|呢)?)+")
        self._tags = frozenset(words["tags"])
        asked, join = _either(words["asked"]), _either(words["joins"])
        self._asked = re.compile(asked)
        self._final = re.compile(f"(?:{_either(words['final_particles'])})$")
        self._continuation = re.compile(_either(words["continuations"]))
        self._condition = re.compile("|".join(words["conditions"]))
        item = f"(?:{_either(words['asked_prefixes'])})*(?:{asked})"
        self._list = re.compile(f"{item}(?:(?:{join}){item})+(?!的)")
        self._join = re.compile(join)
        thing = f"(?:(?!{join}|的).){{1,{words['longest_thing']}}}?"
        listed, particle = f"{thing}(?:(?:{join}){thing})+", f"(?:{_either(words['particles'])})"
        marks = f"[{ends}{commas}！!]*$"
        self._things = tuple(
            re.compile(f"(?:{_either(words[before])})(?P<list>{listed})(?={after}{marks})")
            for before, after in (("whether", f"{particle}*"), ("has", f"{particle}+"))
        )

    def clauses(self, turn: str) -> list[_Clause]:
        """Clauses of a turn with their marks; a question mark makes its last clause ask if none does."""
        found: list[_Clause] = []
        begin = 0  # of the sentence
        for text in self._pieces(turn):
            bare = self._bare(text)
            if not bare:  # a mark by itself belongs to what it follows
                if found:
                    found[-1] = _Clause(found[-1].text + text, found[-1].asks, found[-1].tag, True)
                continue
            tag = bare in self._tags
            ends = text[-1] in self._ends
            found.append(_Clause(text, not tag and self._asks(bare, ends), tag, ends))
            if ends:
                if text.rstrip()[-1] in "？?" and not any(clause.asks for clause in found[begin:]):
                    last = next((i for i in range(len(found) - 1, begin - 1, -1) if not found[i].tag), None)
                    if last is not None:
                        found[last] = _Clause(found[last].text, True, False, found[last].ends_sentence)
                begin = len(found)
        return found

    def _pieces(self, turn: str) -> Iterator[str]:
        """What is between marks, parted where it asks twice."""
        for match in self._clause.finditer(turn):
            text, begin = match.group(), 0
            for word in self._parting.finditer(text):
                if self._wh(text[begin : word.start()]) and self._wh(text[word.end() :]):
                    yield text[begin : word.start()]
                    begin = word.start()
            if text[begin:].strip():
                yield text[begin:]

    def _wh(self, text: str) -> bool:
        return bool(self._question.search(self._not_question.sub("", text)))

    def _bare(self, clause: str) -> str:
        return clause.strip().strip(self._ends + self._commas).strip()

    def _asks(self, bare: str, ends: bool) -> bool:
        if self._continuation.match(bare):
            return False
        if self._wh(bare):
            return True
        rest = self._not_question.sub("", bare)
        if not ends and self._condition.search(rest):
            return False
        if ends and self._final.search(rest) and (len(bare) > 3 or self._asked.match(bare)):
            return True
        return bool(self._request.search(rest) and self._asked.search(rest))

    def separated(self, question: str) -> list[str]:
        """A question for each noun of a list that is asked; the question itself where there is none."""
        listed = next(filter(None, (rule.search(question) for rule in (self._list, *self._things))), None)
        if listed is None:
            return [question]
        begin, end = listed.span("list") if "list" in listed.re.groupindex else listed.span()
        items = self._join.split(question[begin:end])
        return [question[:begin] + item + question[end:] for item in items if item]

    def joins(self, clause: str) -> bool:
        """Whether a clause only leads over to the next: 还有，..."""
        return bool(self._connective.fullmatch(clause.strip()))

    def trimmed(self, question: str, first: bool) -> str:
        """Without a comma at its end, nor 还有, 另外 and the like at its head if it is not the first."""
        question = question.strip()
        return (question if first else self._connective.sub("", question)).rstrip(self._commas) or question


@functools.cache
def rules() -> Rules:
    """The rules that come with the library."""
    text = Path(__file__).with_name("questions.toml").read_text("utf-8")
    return Rules(tomllib.loads(text))


def split(turn: str, rules_: Rules | None = None) -> list[str]:
    """The questions of a turn, in order, each with what was said around it; [turn] when nothing is asked.

    Raises:
      UserError: the turn is empty, or longer than `LONGEST`.
    """
    turn = turn.strip()
    if not turn:
        raise UserError("an empty prompt: write a question")
    if len(turn) > LONGEST:
        raise UserError(f"a turn of {len(turn)} characters; at most {LONGEST} are read: ask in parts")
    known = rules_ or rules()
    questions: list[str] = []
    waiting = ""  # clauses that ask nothing, until it is clear to which question they belong
    open_question = False  # whether the sentence has asked, so that what follows belongs to it
    for clause in known.clauses(turn):
        if clause.asks:
            questions.append(waiting + clause.text)
            waiting, open_question = "", True
        elif questions and (open_question or clause.tag) and not known.joins(clause.text):
            questions[-1] += clause.text
        else:
            waiting += clause.text
        if clause.ends_sentence:
            open_question = False
    if not questions:
        return [turn]
    if waiting:
        questions[-1] += waiting
    pieces = [piece for question in questions for piece in known.separated(question)]
    return [known.trimmed(piece, first=number == 0) for number, piece in enumerate(pieces)]


def _either(words: list[str]) -> str:
    return "|".join(map(re.escape, sorted(words, key=len, reverse=True)))
