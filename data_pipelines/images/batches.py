"""Batches of pictures: decoded, augmented and stacked, as a pure function of cache, seed and pictures read.

Small sets are decoded once and kept in memory; of others every picture is decoded when its turn comes. What
comes out is the same either way.
"""

import functools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from data_pipelines import array_records, cache
from data_pipelines.batches import Batch
from data_pipelines.errors import DataError
from data_pipelines.images import augment, preparing
from data_pipelines.images.augment import Augmentation
from data_pipelines.images.decoding import Mode, decode

KEPT = 512 * 2**20  # bytes of pixels up to which a set is kept decoded


class Pictures:
    """The pictures of a cache, by their places in it.

    Attributes:
      classes: names of the labels.
      label_N: int32, -1 where there is none.
      held_out_N: bool.
    """

    def __init__(self, found: cache.Cache, mode: Mode = "RGB", at_least: int = 0):
        """`at_least` is that of `decoding.decode`."""
        with np.load(found.root / preparing.INDEX) as index:
            self.label_N, self.held_out_N = index["label"], index["held_out"]
            pixels = int((index["height"].astype(np.int64) * index["width"]).sum())
        self.classes: Sequence[str] = found.manifest["classes"]
        self._mode: Mode = mode
        self._at_least, self._max_pixels = at_least, found.manifest["max_pixels"]
        folder = found.root / preparing.DATASET / array_records.VERSION
        self._records = array_records.open_split(folder, preparing.DATASET, preparing.SPLIT)
        _example()  # before threads read ahead
        self._kept: list[np.ndarray] | None = None
        if pixels * (3 if mode == "RGB" else 1) <= KEPT:
            self._kept = [self._decoded(place) for place in range(len(self.label_N))]

    def __len__(self) -> int:
        return len(self.label_N)

    def pixels(self, place: int) -> np.ndarray:
        """uint8 [H, W, C]; not to be changed."""
        return self._kept[place] if self._kept is not None else self._decoded(place)

    def name(self, place: int) -> str:
        """As the source has it."""
        return self._feature(place, "name").decode()

    def places(self, held_out: bool) -> np.ndarray:
        """Of one side, int64, in the order of the source."""
        return np.flatnonzero(self.held_out_N == held_out)

    def _decoded(self, place: int) -> np.ndarray:
        return decode(self._feature(place, "image"), self._mode, self._at_least, self._max_pixels)

    def _feature(self, place: int, name: str) -> bytes:
        return _example().FromString(self._records[place]).features.feature[name].bytes_list.value[0]


class PictureTask(NamedTuple):
    """One side of a set of pictures, as `data_pipelines.batches` takes it.

    Attributes:
      name: in the mixture.
      index: its `task_id`.
      pictures: what is drawn from.
      records: places of the pictures of this side.
      augment: the steps that make a view.
      size: pixels of a view's side.
      views: of each picture, each with draws of its own.
    """

    name: str
    index: int
    pictures: Pictures
    records: Sequence[int]
    augment: Sequence[Augmentation]
    pixels: int
    views: int = 1

    @property
    def size(self) -> int:
        """Pictures per epoch."""
        return len(self.records)

    def window(self, record: int, rng: np.random.Generator) -> Batch:
        """image uint8 [V, S, S, C] · label int32 [] · place int32 [], in the source · weight float32 [] ·
        task_id int32 []."""
        pixels = self.pictures.pixels(record)
        views = [augment.apply(self.augment, pixels, rng) for _ in range(self.views)]
        if views[0].shape[:2] != (self.pixels, self.pixels):
            raise DataError(
                f"images.augment leaves a picture of {' x '.join(map(str, views[0].shape[:2]))} where "
                f"images.size is {self.pixels}: end with a step that sets both sides, such as "
                "@RandomResizedCrop()"
            )
        return self._row(np.stack(views), self.pictures.label_N[record], record, 1.0)

    def identity(self, record: int) -> str:
        """The picture's name."""
        return f"{self.name}: {self.pictures.name(record)}"

    def padding(self) -> Batch:
        """A row without weight, to fill a last batch."""
        channels = self.pictures.pixels(0).shape[-1]
        shape = (self.views, self.pixels, self.pixels, channels)
        return self._row(np.zeros(shape, np.uint8), -1, -1, 0.0)

    def _row(self, image: np.ndarray, label: int, place: int, weight: float) -> Batch:
        return {
            "image": image,
            "label": np.asarray(label, np.int32),
            "place": np.asarray(place, np.int32),
            "weight": np.asarray(weight, np.float32),
            "task_id": np.asarray(self.index, np.int32),
        }


@functools.cache
def _example():
    from tensorflow_datasets.proto import tf_example_pb2

    return tf_example_pb2.Example
