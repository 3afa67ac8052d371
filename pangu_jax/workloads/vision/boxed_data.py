"""What a detector needs of its photos, and what is left of them when a finished run is opened."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

import numpy as np

from pangu_jax.errors import UserError
from pangu_jax.workloads import Source, TrainStream


class BoxedData(Protocol):
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
    def classes(self) -> Sequence[str]:
        """Names, in the order of their numbers."""
        ...

    @property
    def class_counts(self) -> np.ndarray:
        """Boxes of each class that are learnt from, int64 [classes]."""
        ...

    def train_source(self, batch_size: int, seed: int, shift: int = 0) -> TrainStream:
        """Endless views."""
        ...

    def validation_sources(self, batch_size: int) -> Mapping[str, Source]:
        """What is held out."""
        ...

    def order(self) -> dict[str, str]:
        """What decides the stream, in words."""
        ...

    def notices(self) -> Sequence[str]:
        """What a person must be told."""
        ...


class NoBoxes(NamedTuple):
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

    def train_source(self, batch_size: int, seed: int, shift: int = 0) -> TrainStream:
        """UserError: there is nothing to learn from."""
        del batch_size, seed, shift
        raise UserError("the run was opened without its photos: `pangu train` trains it further")

    def validation_sources(self, batch_size: int) -> Mapping[str, Source]:
        """None."""
        del batch_size
        return {}

    def order(self) -> dict[str, str]:
        """There are no photos, in no order."""
        return {}

    def notices(self) -> Sequence[str]:
        """Nothing."""
        return ()
