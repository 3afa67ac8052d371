"""CIDEr-D: how far a caption shares with its picture's references what other pictures' references lack.

This is what COCO's evaluation calls CIDEr (pycocoevalcap 1.2, a package of 100 MB of Java for its other
metrics; `tests/apps/multimodal/cider_golden.json` holds what it gives). An n-gram weighs its count times
log(pictures / pictures whose references have it), so a set of one picture has no weights at all. A caption of
fewer than four tokens has no n-grams of that length and cannot score the whole 10, not against itself either.

Source: Vedantam, Zitnick and Parikh, CIDEr: Consensus-based Image Description Evaluation, 2015,
arXiv 1411.5726.
"""

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np

from pangu_jax.errors import UserError

Tokens = Sequence[str]
LONGEST = 4  # tokens of an n-gram
_SIGMA = 6.0  # tokens by which lengths may differ before it costs much


def cider(written: Sequence[Tokens], references: Sequence[Sequence[Tokens]]) -> np.ndarray:
    """fp64 [pictures]: each caption's score, from 0 to 10; the set's is their mean.

    Args:
      written: of each picture its caption's tokens.
      references: of each picture its references' tokens, at least one.

    Raises:
      UserError: there are fewer than two pictures.
    """
    if len(references) < 2:
        raise UserError(
            f"CIDEr of {len(references)} picture is not defined: it weighs by how many pictures' references "
            "share an n-gram; give two or more"
        )
    counted = [[_counts(tokens) for tokens in own] for own in references]
    pictures_with: Counter[Tokens] = Counter()
    for own in counted:
        pictures_with.update({gram for counts in own for gram in counts})
    weight = {gram: math.log(len(references) / count) for gram, count in pictures_with.items()}
    unseen = math.log(len(references))
    scores = []
    for tokens, own_references, own_counted in zip(written, references, counted, strict=True):
        own = _weighed(_counts(tokens), weight, unseen)
        similar = [
            _similarity(own, _weighed(counts, weight, unseen), len(tokens) - len(reference))
            for reference, counts in zip(own_references, own_counted, strict=True)
        ]
        scores.append(10 * sum(similar) / len(similar))
    return np.array(scores)


Vector = dict[Tokens, float]


def _counts(tokens: Tokens) -> Counter[Tokens]:
    return Counter(
        tuple(tokens[start : start + length])
        for length in range(1, LONGEST + 1)
        for start in range(len(tokens) - length + 1)
    )


def _weighed(counts: Counter[Tokens], weight: dict[Tokens, float], unseen: float) -> list[Vector]:
    """A vector for each length of n-grams."""
    vectors: list[Vector] = [{} for _ in range(LONGEST)]
    for gram, count in counts.items():
        vectors[len(gram) - 1][gram] = count * weight.get(gram, unseen)
    return vectors


def _similarity(own: list[Vector], theirs: list[Vector], longer: int) -> float:
    """Mean over lengths of n-grams of a cosine in which nothing counts for more than in the reference."""
    total = 0.0
    for one, other in zip(own, theirs, strict=True):
        if norms := _norm(one) * _norm(other):
            shared = [ngram for ngram in one if ngram in other]
            total += sum(min(one[gram], other[gram]) * other[gram] for gram in shared) / norms
    return total / LONGEST * math.exp(-(longer**2) / (2 * _SIGMA**2))


def _norm(vector: Vector) -> float:
    return math.sqrt(sum(value * value for value in vector.values()))
