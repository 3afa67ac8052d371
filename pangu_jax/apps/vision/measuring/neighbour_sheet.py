"""Pictures beside those that a trunk finds most like them."""

import numpy as np

from data_pipelines.images.images import Images
from pangu_jax.apps.vision.measuring.few_labels import Arm
from pangu_jax.workloads.exhibits import Image
from pangu_jax.workloads.vision import probing

SHOWN, NEAREST, GAP = 6, 7, 4  # pictures, neighbours of each, pixels between them


def sheet(images: Images, arm: Arm, what: str, shown: int = SHOWN) -> Image:
    """A row for each picture: itself, a gap, and its nearest neighbours of the training side.

    Args:
      images: the set.
      arm: how its pictures are seen; the first ones that are held out are shown.
      what: sees them, such as "this model".
      shown: so many rows.
    """
    asked = arm.asked.features_NxF[:shown]
    nearest, _ = probing.nearest_neighbours(arm.known.features_NxF, asked, NEAREST)
    rows = []
    for place, found in zip(arm.asked.place_N[:shown], nearest, strict=True):
        own, *others = (_pixels(images, int(at)) for at in (place, *arm.known.place_N[found]))
        gap = np.full((own.shape[0], GAP, own.shape[2]), 255, np.uint8)
        rows.append(np.concatenate([own, gap, *others], axis=1))
    title = f"held out, and its {nearest.shape[1]} nearest neighbours as {what} sees them"
    return Image(title, np.concatenate(rows))


def _pixels(images: Images, place: int) -> np.ndarray:
    """A picture in plain view, uint8 [S, S, C]."""
    return images.once(np.array([place]), 1).batch(0)["image"][0, -1]
