"""What features tell of classes by few labels: draws, arms, and the rows of a table.

An arm is one way to see pictures: a trunk, raw pixels, a trunk of random weights. All arms get the same
draws, so that their differences are paired.
"""

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from data_pipelines.images import draws as drawing
from pangu_jax.apps.vision.measuring.seen import SeenPictures
from pangu_jax.evaluation.calibration import Reliability, reliability
from pangu_jax.workloads.vision import probing
from pangu_jax.workloads.vision.probing import Standard

MODEL, COMMONEST = "this model", "commonest class"


class Answered(NamedTuple):
    """An arm's answers to the same pictures, from the labels of one draw.

    Attributes:
      how: "probe", "knn" or "fine-tuned".
      share: of labels.
      method: name of the arm.
      draw: number of the draw.
      labels: pictures that were labelled.
      right_M: bool, of each picture that was asked about.
      confidence_M: of its answers; None where they have none.
    """

    how: str
    share: float
    method: str
    draw: int
    labels: int
    right_M: np.ndarray
    confidence_M: np.ndarray | None

    @property
    def task(self) -> str:
        """As tables name it."""
        return f"{self.how}, {100 * self.share:g}% of labels"

    @property
    def reliability(self) -> Reliability | None:
        """Of its confidences."""
        return None if self.confidence_M is None else reliability(self.confidence_M, self.right_M)

    @property
    def row(self) -> dict[str, Any]:
        """As `pangu_jax.evaluation.statistics` takes it; `calibration_error` in percent."""
        found = {
            "task": self.task,
            "method": self.method,
            "split": f"draw {self.draw}",
            "seed": 0,
            "accuracy": round(100 * float(self.right_M.mean()), 3),
            "labels": self.labels,
            "examples": len(self.right_M),
        }
        known = self.reliability
        return found | ({"calibration_error": round(100 * known.error, 3)} if known else {})


class Arm(NamedTuple):
    """Pictures as one arm sees them, standardised by those that may be labelled.

    Attributes:
      known: the training side.
      asked: what is held out.
    """

    known: SeenPictures
    asked: SeenPictures

    @classmethod
    def of(cls, known: SeenPictures, asked: SeenPictures) -> "Arm":
        """Standardised by all of the training side, which takes no label."""
        standard = Standard.of(known.features_NxF)
        return cls(*(seen._replace(features_NxF=standard(seen.features_NxF)) for seen in (known, asked)))


def labelled(known: SeenPictures, share: float, draw: int) -> np.ndarray:
    """Places of the pictures that are labelled in a draw, int64."""
    label_N = np.full(known.place_N.max() + 1, -1, known.label_N.dtype)
    label_N[known.place_N] = known.label_N
    return drawing.drawn(label_N, known.place_N, share, draw)


def by_features(
    arms: Mapping[str, Arm],
    classes: int,
    shares: Sequence[float],
    draws: int,
    neighbours: int = 20,
    on_row: Callable[[dict[str, Any]], None] = lambda row: None,
) -> list[Answered]:
    """Probe and neighbours of every arm, and the commonest class of the labelled pictures.

    Args:
      arms: by name, of the same pictures.
      classes: how many there are.
      shares: of labels.
      draws: of each share below all.
      neighbours: how many vote.
      on_row: called with each row.
    """
    found: list[Answered] = []

    def keep(answered: Answered) -> None:
        found.append(answered)
        on_row(answered.row)

    first = next(iter(arms.values()))
    truth_M = first.asked.label_N
    for share, draw in itertools.product(shares, range(draws)):
        if share == 1 and draw:  # of all labels there is one draw
            continue
        places = labelled(first.known, share, draw)
        for method, arm in arms.items():
            own = arm.known.at(places)
            given = own.features_NxF, own.label_N, classes
            probability_MxC = probing.fit_probe(*given).probabilities(arm.asked.features_NxF)
            keep(answered("probe", share, method, draw, len(places), probability_MxC, truth_M))
            votes_MxC = probing.neighbour_votes(*given, arm.asked.features_NxF, neighbours)
            right_M = votes_MxC.argmax(1) == truth_M
            keep(Answered("knn", share, method, draw, len(places), right_M, None))
        commonest = np.bincount(first.known.at(places).label_N).argmax()
        for how in ("probe", "knn"):
            keep(Answered(how, share, COMMONEST, draw, len(places), truth_M == commonest, None))
    return found


def answered(
    how: str,
    share: float,
    method: str,
    draw: int,
    labels: int,
    probability_MxC: np.ndarray,
    truth_M: np.ndarray,
) -> Answered:
    """Answers by probabilities: the likeliest class, as sure as it is likely."""
    right_M = probability_MxC.argmax(1) == truth_M
    return Answered(how, share, method, draw, labels, right_M, probability_MxC.max(1))
