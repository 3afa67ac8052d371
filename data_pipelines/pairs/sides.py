"""Which pictures are learnt from and which are held out: by splits of the source, a file, or a share."""

import hashlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from data_pipelines.images import splitting
from data_pipelines.pairs.preparing import PairIndex


class Sides(NamedTuple):
    """The sides of pictures.

    Attributes:
      train_N: bool.
      held_out_N: bool; what is in neither is not used.
      said: what a person must be told, a line each.
    """

    train_N: np.ndarray
    held_out_N: np.ndarray
    said: Sequence[str] = ()

    @property
    def identity(self) -> str:
        """A hash of them."""
        packed = np.packbits(self.train_N).tobytes() + np.packbits(self.held_out_N).tobytes()
        return hashlib.sha256(packed).hexdigest()[:16]


def split(index: PairIndex, validation: str | None, fraction: float) -> Sides:
    """The sides of an index's pictures."""
    held_out = _of_sides(index, validation) if index.sides else _of_share(index, fraction)
    return held_out


def _of_sides(index: PairIndex, validation: str | None) -> Sides:
    del validation
    train = np.array([splitting.told(side) == "train" for side in index.sides])
    train_N, held_out_N = np.zeros((2, len(index.digest_N)), bool)
    train_N[index.place_M[train[index.side_M]]] = True
    held_out_N[index.place_M[~train[index.side_M]]] = True
    return Sides(train_N & ~held_out_N, held_out_N)


def _of_share(index: PairIndex, fraction: float) -> Sides:
    keys = index.digest_N.tolist()
    held_out_N = splitting.held_out(keys, [None] * len(keys), fraction)
    return Sides(~held_out_N, held_out_N)
