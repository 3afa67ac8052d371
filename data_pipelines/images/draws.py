"""Few labels: which pictures of a set are labelled, the same for every model and on every machine.

A class's pictures are put in an order by a hash of the draw and of their places in the source, and the first
ones are taken. So 1% of a draw is part of its 10%, and the choice hangs on no generator of random numbers.
"""

import hashlib

import numpy as np

from data_pipelines.errors import DataError


def drawn(label_N: np.ndarray, places_P: np.ndarray, share: float, draw: int) -> np.ndarray:
    """Places of the pictures that are labelled, int64, in their order.

    Args:
      label_N: int, of every picture of the set, -1 where it is not known; those are never drawn.
      places_P: of the pictures that may be drawn, int, such as `Pictures.places(held_out=False)`.
      share: of the pictures of every class, above 0 and at most 1; at least one of each.
      draw: number of the draw.

    Raises:
      DataError: the share is none, or no picture has a label.
    """
    if not 0 < share <= 1:
        raise DataError(f"a share of labels must be above 0 and at most 1, not {share}")
    labels = label_N[places_P]
    require_classes(labels)
    taken = []
    for label in np.unique(labels[labels >= 0]):
        own = places_P[labels == label]
        count = max(1, round(share * len(own)))
        order = sorted(range(len(own)), key=lambda at: _key(draw, int(own[at])))
        taken.append(own[np.array(order[:count])])
    return np.sort(np.concatenate(taken))


def require_classes(labels: np.ndarray) -> None:
    """DataError unless there are labels of two classes at least."""
    known = np.unique(labels[labels >= 0])
    if not len(known):
        raise DataError(
            "images: no picture has a label: give class folders, or name the column by images.label_field"
        )
    if len(known) < 2:
        raise DataError("images: all labelled pictures are of one class: there is nothing to tell apart")


def _key(draw: int, place: int) -> bytes:
    return hashlib.blake2b(f"{draw} {place}".encode(), digest_size=8).digest()
