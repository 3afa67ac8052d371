"""Patterns: templates that make an example a text with a gap, and the words that may fill it.

PET (arXiv 2001.07676) for an encoder-decoder: `inputs` is what the encoder reads, `target` what the decoder
says, with the slot {answer} in it once. A slot in mid-text puts the rest of the text into every candidate, so
that a whole text is compared under every label. For a decoder alone, `inputs` is empty.
"""

import dataclasses
import random
import string
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from data_pipelines.errors import DataError
from data_pipelines.text.benchmarks.examples import Example

ANSWER = "{answer}"
YES, NO = "yes", "no"
OPTION = "option"  # in `hypotheses`: the statement about any option of a choice


class Rendered(NamedTuple):
    """A query in text.

    Attributes:
      id: of the example; of one of several queries, "EXAMPLE/NUMBER".
      inputs: the encoder's text, may be empty.
      prefix: the decoder's text that is given.
      candidates: what may follow the prefix; empty where the answer is free text.
      answer: which candidate is right; None where it is not known, or free.
      reference: what follows the prefix when the answer is right, the target of training; "" if not known.
    """

    id: str
    inputs: str
    prefix: str
    candidates: tuple[str, ...]
    answer: int | None
    reference: str


@dataclasses.dataclass(frozen=True)
class Pattern:
    """A pattern of a task.

    Attributes:
      name: "fewclue/eprstmt ask", for messages.
      labels: the task's labels, in the order of the candidates; empty where examples bring their own options,
        or where the answer is free text.
      inputs, target: templates. Slots are the example's fields; `options`, its options joined by "；"; and
        `hypothesis`, see below.
      words: label to what fills the slot {answer}.
      hypotheses: label to a statement, a template too: the pattern is then one of entailment (EFL, arXiv
        2104.14690), and asks yes or no (`words` has "yes" and "no") once for every label. Of a choice: the
        one under "option", which has the slot {option}.
      shots: so many solved examples of every label come first (LM-BFF, arXiv 2012.15723): see
        `with_demonstrations`.
      separator: between demonstrations.
    """

    name: str
    labels: tuple[str, ...]
    inputs: str = ""
    target: str = ANSWER
    words: Mapping[str, str] = dataclasses.field(default_factory=dict)
    hypotheses: Mapping[str, str] = dataclasses.field(default_factory=dict)
    shots: int = 0
    separator: str = "\n"
    demonstrations: tuple[Example, ...] = ()

    def __post_init__(self) -> None:
        if self.target.count(ANSWER) != 1:
            raise DataError(f"pattern {self.name}: target must hold {ANSWER} once: {self.target!r}")
        for template in (self.inputs, self.target, *self.hypotheses.values()):
            for _, slot, spec, conversion in string.Formatter().parse(template):
                if slot is not None and (not slot.isidentifier() or spec or conversion):
                    raise DataError(f"pattern {self.name}: {slot!r} in {template!r} is no name of a field")
        needed = (YES, NO) if self.hypotheses else self.labels
        if lacking := [label for label in needed if label not in self.words]:
            raise DataError(f"pattern {self.name}: no word for {lacking[0]!r}; add it to its `words`")
        needed = self.labels or (OPTION,)
        if self.hypotheses and (lacking := [label for label in needed if label not in self.hypotheses]):
            raise DataError(f"pattern {self.name}: no statement for {lacking[0]!r}; add it to `hypotheses`")

    @property
    def entails(self) -> bool:
        """One query for every label; `render` gives only one, `queries` all."""
        return bool(self.hypotheses)

    def render(self, example: Example) -> Rendered:
        """The example as one query.

        Raises:
          DataError: the pattern is one of entailment, or lacks its demonstrations; the example lacks a field
            or has a label without a word.
        """
        if self.entails:
            raise DataError(f"pattern {self.name}: asks once for every label; use `queries`")
        choices = self.labels or example.options
        answers = tuple(self.words[label] for label in self.labels) or example.options
        return self._rendered(example, example.id, {}, answers, self._right(example, choices))

    def queries(self, example: Example) -> tuple[Rendered, ...]:
        """All queries of an example: one, or one for every label with the candidates (yes, no).

        Raises:
          DataError: as `render`.
        """
        if not self.entails:
            return (self.render(example),)
        choices = self.labels or example.options
        right = self._right(example, choices)
        queries = []
        for number, choice in enumerate(choices):
            template = self.hypotheses[choice if self.labels else OPTION]
            hypothesis = self._fill(template, example, {OPTION: choice})
            queries.append(
                self._rendered(
                    example,
                    f"{example.id}/{number}",
                    {"hypothesis": hypothesis},
                    (self.words[YES], self.words[NO]),
                    None if right is None else int(number != right),
                )
            )
        return tuple(queries)

    def chosen(self, scores: Sequence[np.ndarray]) -> int:
        """The label or option that wins, given the scores (log p) of the candidates of all `queries`."""
        if self.entails:
            return int(np.argmax([yes - no for yes, no in scores]))
        return int(np.argmax(scores[0]))

    def with_demonstrations(self, examples: Sequence[Example], seed: int = 0) -> "Pattern":
        """The pattern with `shots` examples of every label in front, or of all where answers are free.

        Raises:
          DataError: a label has too few examples.
        """
        rng = random.Random(seed)
        groups: dict[str | None, list[Example]] = {label: [] for label in self.labels or (None,)}
        for example in rng.sample(list(examples), len(examples)):
            if (key := example.label if self.labels else None) in groups:
                groups[key].append(example)
        picked = []
        for label, members in groups.items():
            if len(members) < self.shots:
                found = f"{len(members)} examples" + (f" of {label!r}" if label else "")
                raise DataError(f"pattern {self.name}: {found}, and demonstrations need {self.shots}")
            picked += members[: self.shots]
        rng.shuffle(picked)
        return dataclasses.replace(self, demonstrations=tuple(picked))

    def _right(self, example: Example, choices: Sequence[str]) -> int | None:
        if example.label is None or not choices:
            return None
        if example.label not in choices:
            raise DataError(
                f"pattern {self.name}: example {example.id} has the label {example.label!r}, none of "
                + ", ".join(choices)
            )
        return choices.index(example.label)

    def _rendered(
        self,
        example: Example,
        name: str,
        more: Mapping[str, str],
        answers: tuple[str, ...],
        right: int | None,
    ) -> Rendered:
        before, after = self.target.split(ANSWER)
        tail = self._fill(after, example, more)
        inputs, prefix = self._fill(self.inputs, example, more), self._fill(before, example, more)
        candidates = tuple(answer + tail for answer in answers)
        if candidates:
            reference = "" if right is None else candidates[right]
        else:
            reference = example.references[0] + tail if example.references else ""
        shown = self._shown(example)
        if self.inputs:
            inputs = shown + inputs
        else:
            prefix = shown + prefix
        return Rendered(name, inputs, prefix, candidates, right, reference)

    def _shown(self, example: Example) -> str:
        """The demonstrations; an example is none of its own."""
        if not self.shots:
            return ""
        if not self.demonstrations:
            raise DataError(f"pattern {self.name}: give it solved examples with `with_demonstrations` first")
        bare = dataclasses.replace(self, shots=0, demonstrations=())
        solved = [q for one in self.demonstrations if one != example for q in bare.queries(one)]
        return "".join(f"{q.inputs}{q.prefix}{q.reference}{self.separator}" for q in solved)

    def _fill(self, template: str, example: Example, more: Mapping[str, str]) -> str:
        try:
            return template.format_map({"options": "；".join(example.options), **example.fields, **more})
        except KeyError as error:
            raise DataError(
                f"pattern {self.name}: {example.id} has no field {error}, but {', '.join(example.fields)}"
            ) from None
