"""Pictures on which an export is held against the model: those that the run held out, or noise."""

from typing import Any, NamedTuple

import numpy as np

from data_pipelines.errors import DataError
from pangu_jax.errors import UserError
from pangu_jax.recipes import Recipe, Reference, make
from pangu_jax.recipes.functions import TRAIN

COUNT = 100


class CheckedPictures(NamedTuple):
    """What goes through both.

    Attributes:
      pixels_BxSxSxC: uint8.
      source: what they are, in words.
    """

    pixels_BxSxSxC: np.ndarray
    source: str


def of_run(recipe: Recipe, size: int, channels: int, count: int = COUNT) -> CheckedPictures:
    """Pictures that a run's recipe names and holds out, as it looks at them; noise where they are gone.

    Args:
      recipe: the run's.
      size: pixels of a side that the model takes.
      channels: of a picture.
      count: how many at most.
    """
    workload = recipe.arguments(TRAIN).get("workload")
    data = recipe.arguments(workload).get("data") if isinstance(workload, Reference) else None
    if isinstance(data, Reference) and recipe.arguments(data).get("path"):
        try:
            images: Any = make(recipe, data)
            places = images.measured[:count]
            image = images.once(places, len(places)).batch(0)["image"][:, -1] if len(places) else None
        except (DataError, UserError, OSError, ValueError, TypeError):
            image = None
        if image is not None and image.shape[1:] == (size, size, channels):
            return CheckedPictures(image, f"{len(image)} held-out pictures of the run")
    noise = np.random.default_rng(0).integers(0, 256, (count, size, size, channels), np.uint8)
    return CheckedPictures(noise, f"{count} pictures of noise (the run's own are gone)")
