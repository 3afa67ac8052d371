"""Boxes found in parts of a photo, laid together on the photo.

Of two boxes of one class that overlap the likelier is kept. A box that ends where a tile ends, inside the
photo, is of a thing that goes on: it is left to another tile that has all of it, or to the whole photo.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from data_pipelines.images import box_views, boxes

OVERLAP = 0.5  # of two boxes of one class, above which the less likely one is taken for the same thing
BORDER = 2.0  # pixels of a view: what comes so close to its end is cut off there


class FoundBoxes(NamedTuple):
    """Things found in one photo, likeliest first.

    Attributes:
      edges_Nx4: fp32, pixels of the photo.
      score_N: from 0 to 1.
      label_N: int32.
    """

    edges_Nx4: np.ndarray
    score_N: np.ndarray
    label_N: np.ndarray


class FoundInViews(NamedTuple):
    """What was found in N views of photos, K boxes each.

    Attributes:
      place_N: the photo of each.
      scale_Nx2, shift_Nx2: where it is in the photo (`box_views.BoxedView`); not mirrored.
      edges_NxKx4: pixels of the view.
      score_NxK: from 0 to 1.
      label_NxK: classes.
    """

    place_N: np.ndarray
    scale_Nx2: np.ndarray
    shift_Nx2: np.ndarray
    edges_NxKx4: np.ndarray
    score_NxK: np.ndarray
    label_NxK: np.ndarray


def joined(
    found: FoundInViews, view: tuple[int, int], photos: Mapping[int, tuple[int, int]], least: float = 0.01
) -> dict[int, FoundBoxes]:
    """What was found in each photo.

    Args:
      found: in its views.
      view: height and width of a view.
      photos: place -> height and width of a photo.
      least: score, below which a box is dropped.
    """
    made: dict[int, FoundBoxes] = {}
    for place, (rows, columns) in photos.items():
        own = FoundInViews(*(part[found.place_N == place] for part in found))
        kept = (own.score_NxK >= least) & ~_cut_off(own, view, (rows, columns))
        edges = [
            box_views.in_picture(own.edges_NxKx4[number][kept[number]], scale, shift)
            for number, (scale, shift) in enumerate(zip(own.scale_Nx2, own.shift_Nx2, strict=True))
        ]
        edges_Mx4 = np.concatenate([*edges, np.zeros((0, 4))])
        inside = np.clip(edges_Mx4, 0, (columns, rows, columns, rows)).astype(np.float32)
        score, label = own.score_NxK[kept], own.label_NxK[kept]
        left = boxes.suppressed(inside, score, label, OVERLAP)
        made[place] = FoundBoxes(inside[left], score[left], label[left])
    return made


def _cut_off(own: FoundInViews, view: tuple[int, int], photo: tuple[int, int]) -> np.ndarray:
    """bool [N, K]: boxes that end with their view where the photo goes on."""
    ends = np.array([view[1], view[0]], np.float32)
    low_Nx2 = (0 - own.shift_Nx2) / own.scale_Nx2
    high_Nx2 = (ends - own.shift_Nx2) / own.scale_Nx2
    goes_on_low = (low_Nx2 > 1)[:, None]
    goes_on_high = (high_Nx2 < np.array([photo[1], photo[0]]) - 1)[:, None]
    cut = goes_on_low & (own.edges_NxKx4[..., :2] < BORDER)
    cut |= goes_on_high & (own.edges_NxKx4[..., 2:] > ends - BORDER)
    return cut[..., 0] | cut[..., 1]
