"""Boxes around things in a picture: what of them can be used, and a count of what cannot, by reason.

Everywhere a box is left, top, right, bottom in pixels of its picture, counted from 0 at the outer edge of the
first pixel; right and bottom are where the box has ended. So an area is (right - left) * (bottom - top).
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

KEPT, CUT = "kept", "kept, cut at the border"
REASONS = ("of zero area", "outside the picture", "of an unknown class", "not numbers")
LOST = "of no photo that is there"


class RawBoxes(NamedTuple):
    """The boxes of one picture as a file has them.

    Attributes:
      edges: left, top, right, bottom of each.
      names: its class.
      group: what must stay on one side of a split; None where the file says nothing.
      side: width and height of the picture that they were drawn on; None where the file says nothing.
    """

    edges: Sequence[Sequence[float]]
    names: Sequence[str]
    group: str | None = None
    side: tuple[int, int] | None = None


class Boxes(NamedTuple):
    """Boxes of one picture that can be used.

    Attributes:
      edges_Nx4: fp32.
      label_N: int32, numbers of classes.
    """

    edges_Nx4: np.ndarray
    label_N: np.ndarray

    @classmethod
    def none(cls) -> "Boxes":
        """Of a picture with nothing in it."""
        return cls(np.zeros((0, 4), np.float32), np.zeros(0, np.int32))


def usable(raw: RawBoxes, width: int, height: int, classes: Mapping[str, int], counts: Counter[str]) -> Boxes:
    """What can be used of a picture's boxes. Boxes of any size are kept; one across the border is cut at it.

    Args:
      raw: as a file has them; drawn on a picture of another size, they are scaled to this one.
      width: of the picture.
      height: of the picture.
      classes: name -> number.
      counts: gets one for each box, under `KEPT`, `CUT` or one of `REASONS`.
    """
    across, down = (width / raw.side[0], height / raw.side[1]) if raw.side and min(raw.side) > 0 else (1, 1)
    found, labels = [], []
    if odd := abs(len(raw.edges) - len(raw.names)):  # a box without a class, or a class without a box
        counts["not numbers"] += odd
    for edges, name in zip(raw.edges, raw.names, strict=False):
        box = _four(edges) * (across, down, across, down)
        reason = _why_not(box, name, width, height, classes)
        if reason:
            counts[reason] += 1
            continue
        inside = np.clip(box, 0, (width, height, width, height))
        counts[CUT if np.abs(inside - box).max() > 1 else KEPT] += 1
        found.append(inside)
        labels.append(classes[name])
    if not found:
        return Boxes.none()
    return Boxes(np.array(found, np.float32), np.array(labels, np.int32))


def _four(edges: Sequence[float]) -> np.ndarray:
    """fp64 [4], of nan where they are no four numbers."""
    try:
        box = np.asarray(edges, np.float64)
    except (TypeError, ValueError):
        box = np.zeros(0)
    return box if box.shape == (4,) else np.full(4, np.nan)


def _why_not(box: np.ndarray, name: str, width: int, height: int, classes: Mapping[str, int]) -> str | None:
    if name not in classes:
        return "of an unknown class"
    if not np.isfinite(box).all():
        return "not numbers"
    left, top, right, bottom = box
    if right <= left or bottom <= top:
        return "of zero area"
    if right <= 0 or bottom <= 0 or left >= width or top >= height:
        return "outside the picture"
    return None


def overlaps(one_Nx4: np.ndarray, other_Mx4: np.ndarray) -> np.ndarray:
    """Intersection over union of every pair, fp32 [N, M]."""
    low = np.maximum(one_Nx4[:, None, :2], other_Mx4[None, :, :2])
    high = np.minimum(one_Nx4[:, None, 2:], other_Mx4[None, :, 2:])
    both = np.prod(np.maximum(high - low, 0), axis=-1)
    one, other = (np.prod(boxes[:, 2:] - boxes[:, :2], axis=-1) for boxes in (one_Nx4, other_Mx4))
    return both / np.maximum(one[:, None] + other[None, :] - both, 1e-9)


def suppressed(edges_Nx4: np.ndarray, score_N: np.ndarray, label_N: np.ndarray, overlap: float) -> np.ndarray:
    """Places of the boxes that are left, best first, int64: of those of one class that overlap by more than
    `overlap` the best (greedy non-maximum suppression)."""
    left: list[int] = []
    for place in np.argsort(-score_N, kind="stable").tolist():
        own = [other for other in left if label_N[other] == label_N[place]]
        if not own or overlaps(edges_Nx4[place : place + 1], edges_Nx4[own]).max() <= overlap:
            left.append(place)
    return np.array(left, np.int64)
