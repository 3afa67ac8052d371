"""Captions against references: CIDEr, BLEU-4 and ROUGE-L, with what a token was.

Chinese has no spaces, and over characters or over words these measures differ by tens of points: a figure
without its segmentation says nothing. The default is characters.

- CIDEr: `cider`, times 100 as papers print it (COCO's code says 1.2 where they print 120); at most 1000.
- BLEU-4 of the whole set by sacrebleu, unsmoothed. (NLTK's counts an n-gram too many in each caption that is
  shorter than four tokens: captions equal to their references score 93 there.)
- ROUGE-L by rouge-score's longest common subsequences, over several references as COCO's code has it: the
  best precision and the best recall, and recall weighs 1.2 squared times as much.
"""

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from pangu_jax.apps.multimodal.cider import cider
from pangu_jax.errors import UserError, suggestion
from pangu_jax.evaluation import bootstrap

_BETA = 1.2


class CaptionScore(NamedTuple):
    """Of a set of captions, with 95% by the bootstrap over pictures."""

    value: float
    low: float
    high: float


class CaptionScores(NamedTuple):
    """What captions come to."""

    cider: CaptionScore  # 100 x COCO's; the weights of n-grams stay those of the whole set
    bleu_4: CaptionScore  # percent
    rouge_l: CaptionScore  # percent
    segmentation: str  # what one token was
    pictures: int
    references: int
    empty: int  # captions without a token; they score 0

    def as_dict(self) -> dict[str, Any]:
        """For JSON: values under the measures' names, intervals beside them."""
        scores = {name: getattr(self, name) for name in ("cider", "bleu_4", "rouge_l")}
        return {name: score.value for name, score in scores.items()} | {
            "interval_95": {name: [score.low, score.high] for name, score in scores.items()},
            **{name: getattr(self, name) for name in ("segmentation", "pictures", "references", "empty")},
        }


def characters(text: str) -> list[str]:
    """Every character but white space; case is kept."""
    return list("".join(text.split()))


def words(text: str) -> list[str]:
    """jieba's words, without white space."""
    import rjieba

    return [word for word in rjieba.cut(text) if not word.isspace()]


SEGMENTATIONS: dict[str, Callable[[str], list[str]]] = {"characters": characters, "words": words}


def evaluate(
    written: Sequence[str],
    references: Sequence[Sequence[str]],
    segmentation: str = "characters",
    resamples: int = bootstrap.RESAMPLES,
) -> CaptionScores:
    """Scores of captions, one a picture.

    Args:
      written: of each picture the caption that a model wrote; an empty one scores 0.
      references: of each picture its right captions, at least one, each with at least one token.
      segmentation: a key of `SEGMENTATIONS`.
      resamples: of the bootstrap.

    Raises:
      UserError: the segmentation is unknown, the lengths differ, there are fewer than two pictures, a picture
        has no reference or an empty one (named by its number from 1), or a library is not installed.
    """
    if segmentation not in SEGMENTATIONS:
        raise UserError(
            f"there is no segmentation {segmentation!r}: {' or '.join(SEGMENTATIONS)}"
            f"{suggestion(segmentation, SEGMENTATIONS)}"
        )
    if len(written) != len(references):
        raise UserError(f"{len(written)} captions for references of {len(references)} pictures: one for each")
    cut = SEGMENTATIONS[segmentation]
    own = [cut(text) for text in written]
    theirs = [[cut(text) for text in texts] for texts in references]
    for number, texts in enumerate(theirs, start=1):
        if not texts or not all(texts):
            lack = "an empty reference" if texts else "no reference"
            raise UserError(f"captions: picture {number} has {lack}: leave it out")
    scores = {
        "cider": _mean(100 * cider(own, theirs), resamples),
        "bleu_4": _bleu(own, theirs, resamples),
        "rouge_l": _mean(np.array([_rouge_l(*pair) for pair in zip(own, theirs, strict=True)]), resamples),
    }
    total, empty = sum(map(len, theirs)), sum(not tokens for tokens in own)
    return CaptionScores(
        **scores, segmentation=segmentation, pictures=len(own), references=total, empty=empty
    )


def _mean(value_N: np.ndarray, resamples: int) -> CaptionScore:
    return CaptionScore(float(value_N.mean()), *bootstrap.interval(value_N, resamples))


def _bleu(own: Sequence[list[str]], theirs: Sequence[Sequence[list[str]]], resamples: int) -> CaptionScore:
    """Of the sums over pictures of what n-grams there are and are right, and of lengths."""
    try:
        from sacrebleu.metrics.bleu import BLEU
    except ImportError:
        raise _missing("BLEU", "sacrebleu") from None
    # Of a single caption its counts are asked; of its score sacrebleu warns unless orders are dropped.
    of_picture = BLEU(tokenize="none", effective_order=True)
    rows = []
    for tokens, texts in zip(own, theirs, strict=True):
        found = of_picture.sentence_score(" ".join(tokens), [" ".join(text) for text in texts])
        rows.append([*found.counts, *found.totals, found.sys_len, found.ref_len])
    counts_NxS = np.array(rows, np.float64)

    def score(weight_N: np.ndarray) -> float:
        sums = (weight_N @ counts_NxS).round().astype(int).tolist()
        found = BLEU.compute_bleu(sums[:4], sums[4:8], *sums[8:], smooth_method="none")
        return float(found.score)

    numbers_N = np.arange(len(own))
    return CaptionScore(score(np.ones(len(own))), *bootstrap.grouped_interval(score, numbers_N, resamples))


def _rouge_l(tokens: list[str], texts: Sequence[list[str]]) -> float:
    found = [_rouge()(text, tokens)["rougeL"] for text in texts]
    precision, recall = (max(getattr(one, name) for one in found) for name in ("precision", "recall"))
    if not precision or not recall:
        return 0.0
    return 100 * (1 + _BETA**2) * precision * recall / (recall + _BETA**2 * precision)


class _Tokens:
    """rouge-score's tokenizer interface, for what is tokens already."""

    def tokenize(self, tokens: Sequence[str]) -> list[str]:
        return list(tokens)


@cache
def _rouge() -> Callable[[Sequence[str], Sequence[str]], dict[str, Any]]:
    """Of rouge-score, which loads NLTK, scikit-learn and SciPy: a second that only those who score pay."""
    try:
        from rouge_score import rouge_scorer
    except ImportError:
        raise _missing("ROUGE-L", "rouge-score") from None
    return rouge_scorer.RougeScorer(("rougeL",), tokenizer=_Tokens()).score


def _missing(measure: str, library: str) -> UserError:
    return UserError(f"{measure} needs {library}, which is not installed: pip install 'pangu-jax[eval]'")
