"""Exact match and F1 of extracted answers, by the rules of the CMRC2018 evaluation script (v5).

The script's F1 is over the longest common *substring* of segments, not over a bag of words as in SQuAD and
not over a subsequence. CLUE counts the exact match alone.

Source: Cui et al., A Span-Extraction Dataset for Chinese Machine Reading Comprehension, EMNLP 2019
(arXiv 1810.07366), squad-style-data/cmrc2018_evaluate.py.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from difflib import SequenceMatcher
from functools import cache
from typing import NamedTuple

from pangu_jax.errors import UserError

# As in the script, which also lists a two-character ellipsis; compared with single characters it never
# matches, so an ellipsis stays. So does the opening quote ‘.
_PUNCTUATION = dict.fromkeys(map(ord, "-:_*^/\\~`+=，。：？！“”；’《》·、「」（）－～『』"))
_RUNS = re.compile("[\u4e00-\u9fa5]|[^\u4e00-\u9fa5]+")


class ReadingScores(NamedTuple):
    """Scores over a set of questions, percent."""

    exact_match: float
    f1: float
    average: float  # of the two, by which CMRC2018's own board ranks
    questions: int
    unanswered: int  # questions without a prediction; they count as 0


def evaluate(predictions: Mapping[str, str], references: Mapping[str, Sequence[str]]) -> ReadingScores:
    """Exact match and F1, each the best over a question's references.

    Args:
      predictions: answers by question id; one that is missing counts as wrong and is counted.
      references: right answers by question id.

    Raises:
      UserError: no question, one without an answer, or a prediction for an unknown question.
    """
    if not references or not all(references.values()):
        raise UserError("reading: a question has no reference answer: score a split that is labelled")
    if unknown := sorted(predictions.keys() - references.keys()):
        raise UserError(f"reading: {len(unknown)} predictions for unknown questions, such as {unknown[0]}")
    exact = f1 = 0.0
    for name in predictions:
        exact += exact_match(predictions[name], references[name])
        f1 += overlap_f1(predictions[name], references[name])
    questions = len(references)
    exact, f1 = 100 * exact / questions, 100 * f1 / questions
    return ReadingScores(exact, f1, (exact + f1) / 2, questions, questions - len(predictions))


def exact_match(prediction: str, references: Sequence[str]) -> float:
    """1 if the prediction is one of the references but for case, punctuation and outer space, else 0."""
    return float(_plain(prediction) in map(_plain, references))


def overlap_f1(prediction: str, references: Sequence[str]) -> float:
    """Best F1 over references, 0 to 1: of the longest common run of segments against both lengths."""
    return max(_f1(segments(prediction), segments(reference)) for reference in references)


def segments(text: str) -> list[str]:
    """Each Chinese character alone, all else by NLTK's word tokenizer, lower case, punctuation removed.

    The script calls `nltk.word_tokenize`, which cuts sentences by a downloaded model first; without that, a
    full stop inside an answer of several Latin sentences stays on its word.
    """
    segmented = []
    for run in _RUNS.findall(_plain(text)):
        segmented += [run] if _is_chinese(run[0]) else _words()(run)
    return segmented


def _plain(text: str) -> str:
    return text.lower().strip().translate(_PUNCTUATION)


def _is_chinese(character: str) -> bool:
    return "\u4e00" <= character <= "\u9fa5"


def _f1(prediction: list[str], reference: list[str]) -> float:
    common = SequenceMatcher(None, prediction, reference, autojunk=False).find_longest_match().size
    return 2 * common / (len(prediction) + len(reference)) if common else 0.0


@cache
def _words() -> Callable[[str], list[str]]:
    from nltk.tokenize import NLTKWordTokenizer

    return NLTKWordTokenizer().tokenize
