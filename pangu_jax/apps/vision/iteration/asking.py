"""What is asked of a picture: one bit, or its label."""

from dataclasses import dataclass

import gin
import numpy as np

from pangu_jax.apps.vision.iteration.answers import KnownLabels, LabelQuery


@gin.configurable
@dataclass(frozen=True)
class OneBit:
    """ "Is it of the class that the model finds likeliest?" (Hu et al., "One-bit supervision", NeurIPS 2020).

    A picture that got a "no" can be asked about again: by its next class. Worth it where classes are many: a
    guess must be right more often than 1 / log2(classes) for labels to be cheaper than full ones.
    """

    def questions(
        self, rows: np.ndarray, probability_NxC: np.ndarray, known: KnownLabels
    ) -> list[LabelQuery]:
        """One for each picture.

        Args:
          rows: of the pictures.
          probability_NxC: of the whole pool.
          known: classes that are ruled out are not asked for again.
        """
        open_RxC = np.where(known.ruled_out_NxC[rows], -1.0, probability_NxC[rows])
        return [LabelQuery(int(row), int(guess)) for row, guess in zip(rows, open_RxC.argmax(1), strict=True)]

    def count(self, bits: float, bits_of_label: float) -> int:
        """Questions that so many bits pay for."""
        del bits_of_label
        return int(bits)


@gin.configurable
@dataclass(frozen=True)
class FullLabel:
    """ "Which class is it?": log2(classes) bits."""

    def questions(
        self, rows: np.ndarray, probability_NxC: np.ndarray, known: KnownLabels
    ) -> list[LabelQuery]:
        """One for each picture."""
        del probability_NxC, known
        return [LabelQuery(int(row), None) for row in rows]

    def count(self, bits: float, bits_of_label: float) -> int:
        """Questions that so many bits pay for."""
        return int(bits / bits_of_label)


Asking = OneBit | FullLabel
