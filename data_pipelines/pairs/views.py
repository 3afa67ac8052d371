"""What a batch of pairs shows of a picture: its pixels, or something that was made of them."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from data_pipelines.batches import Batch
from data_pipelines.images.batches import PictureTask


class Views(Protocol):
    """Shows pictures, by their places in a set."""

    def shown(self, place: int, rng: np.random.Generator) -> Batch:
        """Arrays of one picture."""
        ...

    def nothing(self) -> Batch:
        """The same arrays of no picture, to fill a last batch."""
        ...


@dataclass(frozen=True)
class PixelViews:
    """The view that a task makes: image uint8 [1, S, S, C]."""

    task: PictureTask

    def shown(self, place: int, rng: np.random.Generator) -> Batch:
        """See `Views`."""
        return {"image": self.task.window(place, rng)["image"]}

    def nothing(self) -> Batch:
        """See `Views`."""
        return {"image": self.task.padding()["image"]}
