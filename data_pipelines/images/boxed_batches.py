"""Batches of pictures with boxes: a view of each, and its boxes filled up to a fixed number.

As `batches` has it, a batch is a pure function of cache, seed and pictures read.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from data_pipelines.batches import Batch
from data_pipelines.images import augment, box_views
from data_pipelines.images.augment import Augmentation
from data_pipelines.images.batches import Pictures
from data_pipelines.images.box_index import BoxIndex
from data_pipelines.images.box_views import BoxedView, PhotoPart, ViewStep


@dataclasses.dataclass
class BoxedTask:
    """Pictures with boxes as `data_pipelines.batches` takes them.

    Attributes:
      name: in the mixture.
      index: its `task_id`.
      pictures: what is drawn from.
      boxes: of the same places.
      records: of each view its picture's place, and the part that is seen; None for one that `views` make.
      height, width: of a view.
      most: boxes that a batch has room for.
      views: steps that make a view.
      augment: steps that change colours and leave everything where it is.
      size: views per epoch.
    """

    name: str
    index: int
    pictures: Pictures
    boxes: BoxIndex
    records: Sequence[tuple[int, PhotoPart | None]]
    height: int
    width: int
    most: int
    views: Sequence[ViewStep]
    augment: Sequence[Augmentation] = ()
    size: int = dataclasses.field(init=False)

    def __post_init__(self):
        self.size = len(self.records)

    def window(self, record: tuple[int, PhotoPart | None], rng: np.random.Generator) -> Batch:
        """image uint8 [H, W, C] · edges fp32 [M, 4] in pixels of the view · label int32 [M], -1 where there
        is no box · place int32 [] · scale, shift fp32 [2] (`BoxedView`) · weight fp32 [] · task_id."""
        place, part = record
        view = box_views.whole(self.pictures.pixels(place), self.boxes.of(place))
        if part is None:
            view = box_views.viewed(self.views, view, self.height, self.width, rng)
        else:
            view = box_views.part_of(view, part, self.height, self.width)
        pixels = augment.apply(self.augment, view.pixels_HxWxC, rng)
        return self._row(view._replace(pixels_HxWxC=pixels), place, 1.0)

    def identity(self, record: tuple[int, PhotoPart | None]) -> str:
        """The picture's name."""
        return f"{self.name}: {self.boxes.name_N[record[0]]}"

    def padding(self) -> Batch:
        """A row without weight, to fill a last batch."""
        pixels = np.zeros((self.height, self.width, self.pictures.channels), np.uint8)
        return self._row(box_views.whole(pixels, box_views.Boxes.none()), -1, 0.0)

    def _row(self, view: BoxedView, place: int, weight: float) -> Batch:
        count = min(len(view.boxes.label_N), self.most)
        edges, label = np.zeros((self.most, 4), np.float32), np.full(self.most, -1, np.int32)
        edges[:count], label[:count] = view.boxes.edges_Nx4[:count], view.boxes.label_N[:count]
        return {
            "image": np.ascontiguousarray(view.pixels_HxWxC),
            "edges": edges,
            "label": label,
            "place": np.asarray(place, np.int32),
            "scale": np.asarray(view.scale, np.float32),
            "shift": np.asarray(view.shift, np.float32),
            "weight": np.asarray(weight, np.float32),
            "task_id": np.asarray(self.index, np.int32),
        }
