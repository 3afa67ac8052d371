"""Pictures of which some labels are not told: as where labels are dear and pictures are not."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import gin
import numpy as np

from data_pipelines.images import draws
from pangu_jax.errors import UserError
from pangu_jax.workloads import Source, TrainStream

if TYPE_CHECKING:  # what it imports is dear, and whoever gives pictures has imported it
    from data_pipelines.images.images import Images


@gin.configurable(module="pangu_jax.workloads.vision")
@dataclasses.dataclass(frozen=True)
class FewLabelled:
    """Pictures of which a share alone keep their labels; what is held out keeps all of them.

    Args:
      data: the pictures, @images().
      share: of the pictures of every class that keep their label.
      draw: which: draws differ, and those of a smaller share are part of a larger one's.
      there: of the pictures of every class that are there at all, their label told or not; below 1 pictures
        of no known class are left out.
    """

    data: "Images"
    share: float = 0.1
    draw: int = 0
    there: float = 1.0

    def __post_init__(self):
        if not 0 < self.share <= 1:
            raise UserError(f"FewLabelled.share = {self.share}: above 0, and at most 1")
        if not self.share <= self.there <= 1:
            raise UserError(
                f"FewLabelled.there = {self.there}: from FewLabelled.share, {self.share}, to 1, of all "
                "pictures as well"
            )

    @property
    def size(self) -> int:
        """See `PictureData`."""
        return self.data.size

    @property
    def views(self) -> int:
        """See `PictureData`."""
        return self.data.views

    @property
    def plain(self) -> bool:
        """See `PictureData`."""
        return self.data.plain

    @property
    def channels(self) -> int:
        """See `PictureData`."""
        return self.data.channels

    @property
    def classes(self) -> Sequence[str]:
        """See `PictureData`."""
        return self.data.classes

    @property
    def labelled(self) -> np.ndarray:
        """Places of the pictures that keep their label, int64."""
        return self._drawn(self.share)

    def train_source(self, batch_size: int, seed: int, shift: int = 0) -> TrainStream:
        """Endless views, labels of -1 where they are not told."""
        stream: Any = self.data.train_source(batch_size, seed, shift)
        if self.there < 1:
            stream = self.data.learnt_from(self._drawn(self.there), batch_size, seed, shift)
        known_N = np.zeros(len(self.data.pictures.label_N), bool)
        known_N[self.labelled] = True
        hidden: Any = _Hidden(stream, known_N)
        return hidden

    def validation_sources(self, batch_size: int) -> Mapping[str, Source]:
        """What is held out, once."""
        return self.data.validation_sources(batch_size)

    def order(self) -> dict[str, str]:
        """The pictures, the steps, and the labels that are told."""
        return self.data.order() | {"labels": f"{self.share}, draw {self.draw}, there {self.there}"}

    def notices(self) -> Sequence[str]:
        """See `PictureData`."""
        return self.data.notices()

    def _drawn(self, share: float) -> np.ndarray:
        pictures = self.data.pictures
        return draws.drawn(pictures.label_N, pictures.places(False), share, self.draw)


class _Hidden:
    """A stream without the labels of some pictures."""

    def __init__(self, stream: Any, known_N: np.ndarray):
        self._stream, self._known_N = stream, known_N

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def _without(self, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        return batch | {"label": np.where(self._known_N[batch["place"]], batch["label"], -1).astype(np.int32)}

    def batch(self, step: int, rows: slice | None = None) -> dict[str, np.ndarray]:
        return self._without(self._stream.batch(step, rows))

    def iterator(self, start_step: int, rows: slice | None = None) -> Iterator[dict[str, np.ndarray]]:
        return map(self._without, self._stream.iterator(start_step, rows))
