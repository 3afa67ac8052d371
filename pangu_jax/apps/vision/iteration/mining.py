"""Which pictures are worth a question."""

from dataclasses import dataclass
from typing import Literal, Protocol

import gin
import numpy as np
from scipy import special

from pangu_jax.apps.vision.iteration.answers import KnownLabels
from pangu_jax.errors import UserError
from pangu_jax.workloads.vision import probing

CHUNK = 1024  # pictures whose similarities are held at once


class Miner(Protocol):
    """Chooses pictures; the same ones for the same arguments."""

    def __call__(
        self,
        features_NxF: np.ndarray,
        probability_NxC: np.ndarray,
        known: KnownLabels,
        count: int,
        rng: np.random.Generator,
    ) -> np.ndarray:
        """Rows of at most `count` pictures whose label is not known, int [K], in the order to ask in.

        Args:
          features_NxF: plain views, standardised.
          probability_NxC: of classes, as the model sees them now.
          known: what is known by now.
          count: so many.
          rng: for what is drawn.
        """
        ...


@gin.configurable
@dataclass(frozen=True)
class RandomPictures:
    """Any of those without a label: the control of every other way, and an unbiased sample."""

    def __call__(
        self,
        features_NxF: np.ndarray,
        probability_NxC: np.ndarray,
        known: KnownLabels,
        count: int,
        rng: np.random.Generator,
    ) -> np.ndarray:
        """See `Miner`."""
        del features_NxF, probability_NxC
        return rng.permutation(np.flatnonzero(known.label_N < 0))[:count]


@gin.configurable
@dataclass(frozen=True)
class UncertainPictures:
    """Those that the model is unsure about, spread over the embedding, copies left out.

    The surest doubt comes first; of `spread` times as many as are wanted, those are kept that lie farthest
    from what was chosen before (k-center greedy: Sener and Savarese, arXiv 1708.00489).

    Args:
      by: "entropy"; "margin" of the two likeliest classes; "bit", what a yes or no to the likeliest class is
        expected to say, -p log2 p - (1 - p) log2 (1 - p).
      spread: how many times as many are looked at; 1 takes the most uncertain.
      copies: cosine from which two pictures are near-copies, of which one is asked; above 1 for no such look.
    """

    by: Literal["entropy", "margin", "bit"] = "entropy"
    spread: float = 2.0
    copies: float = 0.995

    def __post_init__(self):
        if self.spread < 1:
            raise UserError(f"UncertainPictures.spread = {self.spread}: at least 1")

    def __call__(
        self,
        features_NxF: np.ndarray,
        probability_NxC: np.ndarray,
        known: KnownLabels,
        count: int,
        rng: np.random.Generator,
    ) -> np.ndarray:
        """See `Miner`."""
        del rng
        open_ = np.flatnonzero(known.label_N < 0)
        open_p = np.where(known.ruled_out_NxC[open_], 0.0, probability_NxC[open_])
        open_p /= np.maximum(open_p.sum(1, keepdims=True), 1e-12)
        order = open_[np.argsort(-doubt(open_p, self.by), kind="stable")][: int(self.spread * count)]
        unit_RxF = probing.unit(features_NxF[order].astype(np.float32))
        if self.copies <= 1:
            first = without_copies(unit_RxF, self.copies)
            order, unit_RxF = order[first], unit_RxF[first]
        return order[farthest(unit_RxF, count)] if len(order) > count else order


def doubt(probability_NxC: np.ndarray, by: str) -> np.ndarray:
    """How unsure each row is, higher where more so; see `UncertainPictures.by`."""
    if by == "margin":
        two = np.partition(probability_NxC, -2, axis=1)[:, -2:]
        return two[:, 0] - two[:, 1]
    if by == "bit":
        likeliest = probability_NxC.max(1)
        return special.entr(likeliest) + special.entr(1 - likeliest)
    return special.entr(probability_NxC).sum(1)


def without_copies(unit_NxF: np.ndarray, cosine: float) -> np.ndarray:
    """Rows that are no near-copy of a kept row before them, int."""
    kept = np.ones(len(unit_NxF), bool)
    for first in range(0, len(unit_NxF), CHUNK):
        near = unit_NxF[first : first + CHUNK] @ unit_NxF[: first + CHUNK].T >= cosine
        for at, row in enumerate(near, first):
            kept[at] = not np.any(row[:at] & kept[:at])
    return np.flatnonzero(kept)


def farthest(unit_NxF: np.ndarray, count: int) -> np.ndarray:
    """So many rows, the first one and then each farthest by cosine from all before it, int."""
    chosen = np.zeros(count, np.int64)
    nearest = unit_NxF @ unit_NxF[0]
    for at in range(1, count):
        nearest[chosen[at - 1]] = np.inf
        chosen[at] = nearest.argmin()
        np.maximum(nearest, unit_NxF @ unit_NxF[chosen[at]], out=nearest)
    return chosen
