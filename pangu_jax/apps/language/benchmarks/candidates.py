"""Examples as labelled queries, and the way back: from scores of queries to one choice per example.

An over-long example is several windows, and a pattern of entailment asks once for every label; both make
several queries of one example, whose scores are put together here.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from data_pipelines.text.benchmarks import Example, Pattern
from data_pipelines.text.benchmarks.examples import windows
from pangu_jax.apps.language.benchmarks.in_turns import AskedInTurns
from pangu_jax.apps.language.decoding import encoding
from pangu_jax.apps.language.loaded import LoadedModel
from pangu_jax.apps.language.tuning.examples import Labelled


class CandidateQueries(NamedTuple):
    """A split as queries.

    Attributes:
      pattern: what rendered them.
      labelled: the queries; where the owners keep the label, the answer is 0.
      owners: of each query, (number of its example, number of the label it asks about).
      answers: of each example, the index of what is right; None where it is not known.
      cut: examples that were over-long and became windows.
    """

    pattern: Pattern
    labelled: list[Labelled]
    owners: list[tuple[int, int]]
    answers: list[int | None]
    cut: int

    def scores(self, scores_NxC: np.ndarray) -> list[list[np.ndarray]]:
        """Of each example, the scores of each of its questions: the mean over its windows, fp32 [C]."""
        gathered: list[dict[int, list[np.ndarray]]] = [{} for _ in self.answers]
        for labelled, (example, question), score_C in zip(
            self.labelled, self.owners, scores_NxC, strict=True
        ):
            count = len(labelled.query.candidates)
            gathered[example].setdefault(question, []).append(score_C[:count])
        return [[np.mean(found[key], axis=0) for key in sorted(found)] for found in gathered]

    def choices(self, scores_NxC: np.ndarray, prior_C: np.ndarray | None = None) -> np.ndarray:
        """What is chosen for each example, int [examples]; `prior_C` is taken off every score first."""
        prior = 0.0 if prior_C is None else prior_C
        return np.array(
            [self.pattern.chosen([one - prior for one in found]) for found in self.scores(scores_NxC)]
        )

    def accuracy(self, choices: np.ndarray) -> float:
        """Percent of the examples with a known answer that are right; NaN without any."""
        right = [
            choice == answer
            for choice, answer in zip(choices, self.answers, strict=True)
            if answer is not None
        ]
        return 100 * float(np.mean(right)) if right else float("nan")


def ask(
    loaded: LoadedModel,
    pattern: Pattern,
    examples: Sequence[Example],
    length: int,
    stride: int,
    turns: AskedInTurns | None = None,
) -> CandidateQueries:
    """The queries of examples, in their order.

    Args:
      loaded: the model that is to answer.
      pattern: renders them.
      examples: of one task.
      length: characters of a window of an over-long example's longest field.
      stride: characters from one window to the next.
      turns: how it is asked in turns; None: as plain text.

    Raises:
      DataError: the pattern does not fit the examples, or a label is none of its words.
    """
    labelled: list[Labelled] = []
    owners: list[tuple[int, int]] = []
    answers: list[int | None] = []
    cut = 0
    for number, example in enumerate(examples):
        parts = windows(example, length, stride)
        cut += len(parts) > 1
        choices = pattern.labels or example.options
        answers.append(None if example.label is None else choices.index(example.label))
        for part in parts:
            for question, rendered in enumerate(pattern.queries(part)):
                query = turns.query(rendered) if turns else encoding.query(loaded, rendered)
                labelled.append(Labelled(query, rendered.answer or 0))
                owners.append((number, question))
    return CandidateQueries(pattern, labelled, owners, answers, cut)
