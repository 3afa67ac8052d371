"""What a detector needs of its photos, and what is left of them when a finished run is opened."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from pangu_jax.workloads.no_views import NoViews
from pangu_jax.workloads.vision.data import ViewSource


class BoxedData(ViewSource, Protocol):
    """Where photos with boxes come from, such as `data_pipelines.images.boxed_images.BoxedImages`.

    A batch is image uint8 [B, height, width, channels], edges fp32 [B, most, 4] in pixels of the view, label
    int32 [B, most] with -1 where there is no box, place int32 [B], scale and shift fp32 [B, 2], weight [B],
    task_id int32 [B].
    """

    @property
    def height(self) -> int:
        """Pixels of a view."""
        ...

    @property
    def width(self) -> int:
        """Pixels of a view."""
        ...

    @property
    def channels(self) -> int:
        """Of a view."""
        ...

    @property
    def most(self) -> int:
        """Boxes that a view has room for."""
        ...

    @property
    def class_counts(self) -> np.ndarray:
        """Boxes of each class that are learnt from, int64 [classes]."""
        ...


@dataclass(frozen=True)
class NoBoxes(NoViews):
    """Of a finished run's photos their shape: enough for its model to be used."""

    height: int
    width: int
    channels: int
    classes: tuple[str, ...]
    most: int = 1

    @property
    def class_counts(self) -> np.ndarray:
        """One of each: nothing is learnt any more."""
        return np.ones(len(self.classes), np.int64)
