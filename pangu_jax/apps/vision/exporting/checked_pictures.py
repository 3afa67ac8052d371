"""Pictures on which an export is held against the model: those that the run held out, or noise."""

from typing import Any, NamedTuple

import numpy as np

from data_pipelines.errors import DataError
from pangu_jax.errors import UserError
from pangu_jax.runs import opening
from pangu_jax.runs.opening import OpenedRun

COUNT = 100


class CheckedPictures(NamedTuple):
    """What goes through both.

    Attributes:
      pixels_BxSxSxC: uint8.
      source: what they are, in words.
    """

    pixels_BxSxSxC: np.ndarray
    source: str


def of_run(run: OpenedRun, size: int, channels: int, count: int = COUNT) -> CheckedPictures:
    """Pictures that a run holds out, as it looks at them; noise where there are none any more.

    Args:
      run: opened; its recipe names its pictures.
      size: pixels of a side that the model takes.
      channels: of a picture.
      count: how many at most.
    """
    try:
        workload: Any = opening.with_data(run)
        for source in workload.data.validation_sources(count).values():
            batch = source.batch(0)
            shown = batch["image"][batch["weight"] > 0, -1]
            return CheckedPictures(shown, f"{len(shown)} held-out pictures of the run")
    except (DataError, UserError, OSError):
        pass
    noise = np.random.default_rng(0).integers(0, 256, (count, size, size, channels), np.uint8)
    return CheckedPictures(noise, f"{count} pictures of noise (none that the run held out is here)")
