"""Whether an export answers as the model does."""

from typing import NamedTuple

import numpy as np

TOLERANCE = 1e-4


class AnswerDifference(NamedTuple):
    """Two sets of answers to the same pictures.

    Attributes:
      largest: difference of two numbers, in units of `scale`.
      scale: 1 of logits; of features their standard deviation, where that is larger.
      classes_changed: pictures whose largest logit is another one; None of features.
      pictures: how many there are.
    """

    largest: float
    scale: float
    classes_changed: int | None
    pictures: int

    @property
    def agrees(self) -> bool:
        """Whether they are the same, but for rounding."""
        return self.largest <= TOLERANCE and not self.classes_changed

    def __str__(self) -> str:
        classes = "" if self.classes_changed is None else f", {self.classes_changed} other classes"
        unit = "" if self.scale == 1 else " standard deviations"
        return f"largest difference {self.largest:.1e}{unit}{classes} of {self.pictures} pictures"


def difference(expected_BxN: np.ndarray, answers_BxN: np.ndarray, classes: bool) -> AnswerDifference:
    """How far answers are from what is expected; infinitely far where shapes differ or one is no number.

    Args:
      expected_BxN: fp32.
      answers_BxN: of the same pictures.
      classes: whether they are logits.
    """
    scale = 1.0 if classes else max(1.0, float(np.std(expected_BxN)))
    if expected_BxN.shape != answers_BxN.shape or not np.isfinite(answers_BxN).all():
        return AnswerDifference(
            float("inf"), scale, len(expected_BxN) if classes else None, len(expected_BxN)
        )
    largest = float(np.max(np.abs(expected_BxN - answers_BxN))) / scale
    changed = int(np.sum(expected_BxN.argmax(1) != answers_BxN.argmax(1))) if classes else None
    return AnswerDifference(largest, scale, changed, len(expected_BxN))
