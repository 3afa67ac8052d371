"""What a vision model needs of its pictures, and what is left of them when a finished run is opened."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from pangu_jax.workloads import Source, TrainStream
from pangu_jax.workloads.no_views import NoViews


class ViewSource(Protocol):
    """Where views come from, of pictures or of photos with boxes."""

    @property
    def classes(self) -> Sequence[str]:
        """Names, in the order of their numbers."""
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


class PictureData(ViewSource, Protocol):
    """Where pictures come from, such as `data_pipelines.images.images.Images`.

    A batch is image uint8 [B, views, size, size, channels], label, place and task_id int32 [B], weight [B].
    """

    @property
    def size(self) -> int:
        """Pixels of a view's side."""
        ...

    @property
    def views(self) -> int:
        """Augmented ones of each picture, drawn alike."""
        ...

    @property
    def plain(self) -> bool:
        """Whether one more follows them, which keeps its colours and its scale."""
        ...

    @property
    def channels(self) -> int:
        """Of a picture."""
        ...


@dataclass(frozen=True)
class NoPictures(NoViews):
    """Of a finished run's pictures their shape: enough for its model to be used."""

    size: int
    channels: int
    views: int
    plain: bool
    classes: tuple[str, ...] = ()
