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
      label_B: int, of the run's classes; -1 where it is not known.
    """

    pixels_BxSxSxC: np.ndarray
    source: str
    label_B: np.ndarray


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
            batch = images.once(places, len(places)).batch(0) if len(places) else None
        except (DataError, UserError, OSError, ValueError, TypeError):
            batch = None
        if batch is not None and batch["image"].shape[2:] == (size, size, channels):
            said = f"{len(places)} held-out pictures of the run"
            return CheckedPictures(batch["image"][:, -1], said, np.asarray(batch["label"]))
    noise = np.random.default_rng(0).integers(0, 256, (count, size, size, channels), np.uint8)
    return CheckedPictures(noise, f"{count} pictures of noise (the run's own are gone)", np.full(count, -1))
