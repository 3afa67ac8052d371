"""Batches of pictures: decoded, augmented and stacked, as a pure function of cache, seed and pictures read.

Of a small set every picture is decoded once, when it is first asked for, and kept in memory; of others each
time, a JPEG at a fraction of its size where that is enough for the part that is wanted.
"""

import dataclasses
import functools
import math
from collections.abc import Sequence

import numpy as np

from data_pipelines import array_records, cache
from data_pipelines.batches import Batch
from data_pipelines.errors import DataError
from data_pipelines.images import augment, preparing
from data_pipelines.images.augment import Augmentation, RandomResizedCrop
from data_pipelines.images.decoding import Mode, decode

ENLARGED = 0.85  # a part may have so few pixels per pixel of the view, if decoding is then half as dear
KEPT = 512 * 2**20  # bytes of pixels up to which a set is kept decoded


class Pictures:
    """The pictures of a cache, by their places in it.

    Attributes:
      classes: names of the labels.
      label_N: int32, -1 where there is none.
      held_out_N: bool.
      group_N: what must stay together, as the source says; "" where it says nothing.
      hash_N: `copies.difference_hash`, uint64.
    """

    def __init__(self, found: cache.Cache, mode: Mode = "RGB"):
        with np.load(found.root / preparing.INDEX, allow_pickle=False) as index:
            self.label_N, self.held_out_N = index["label"], index["held_out"]
            self.group_N, self.hash_N = index["group"], index["hash"]
            self._sides_Nx2 = np.stack([index["height"], index["width"]], -1).astype(np.int64)
        self.classes: Sequence[str] = found.manifest["classes"]
        self._mode: Mode = mode
        self._max_pixels = found.manifest["max_pixels"]
        folder = found.root / preparing.DATASET / array_records.VERSION
        self._records = array_records.open_split(folder, preparing.DATASET, preparing.SPLIT)
        _example()  # before threads read ahead
        # Filled as pictures are asked for: a run that begins waits for none but its first.
        self._kept: list[np.ndarray | None] | None = None
        if self._sides_Nx2.prod(1).sum() * self.channels <= KEPT:
            self._kept = [None] * len(self.label_N)

    def __len__(self) -> int:
        return len(self.label_N)

    @property
    def channels(self) -> int:
        """Of every picture."""
        return 3 if self._mode == "RGB" else 1

    def sides(self, place: int) -> tuple[int, int]:
        """Height and width."""
        height, width = self._sides_Nx2[place]
        return int(height), int(width)

    def pixels(self, place: int, at_least: int = 0) -> np.ndarray:
        """uint8 [H, W, C]; not to be changed. What is decoded now may be smaller (`decoding.decode`)."""
        if self._kept is None:
            return self._decoded(place, at_least)
        if (pixels := self._kept[place]) is None:
            pixels = self._kept[place] = self._decoded(place)
        return pixels

    def name(self, place: int) -> str:
        """As the source has it."""
        return self._feature(place, "name").decode()

    def places(self, held_out: bool) -> np.ndarray:
        """Of one side, int64, in the order of the source."""
        return np.flatnonzero(self.held_out_N == held_out)

    def _decoded(self, place: int, at_least: int = 0) -> np.ndarray:
        return decode(self._feature(place, "image"), self._mode, at_least, self._max_pixels)

    def _feature(self, place: int, name: str) -> bytes:
        return _example().FromString(self._records[place]).features.feature[name].bytes_list.value[0]


@dataclasses.dataclass
class PictureTask:
    """One side of a set of pictures, as `data_pipelines.batches` takes it.

    Attributes:
      name: in the mixture.
      index: its `task_id`.
      pictures: what is drawn from.
      records: places of the pictures of this side.
      augment: the steps that make a view.
      pixels: of a view's side.
      views: of each picture, each with draws of its own.
      plain: the steps of one view more, the last; None for none.
      function: of a recipe, whose steps these are, for what is told of them.
      size: pictures per epoch.
    """

    name: str
    index: int
    pictures: Pictures
    records: Sequence[int]
    augment: Sequence[Augmentation]
    pixels: int
    views: int = 1
    plain: Sequence[Augmentation] | None = None
    function: str = "images"
    size: int = dataclasses.field(init=False)

    def __post_init__(self):
        self.size = len(self.records)

    def window(self, record: int, rng: np.random.Generator) -> Batch:
        """image uint8 [V, S, S, C] · label int32 [] · place int32 [], in the source · weight float32 [] ·
        task_id int32 []."""
        views = self._views(self.augment, self.views, record, rng)
        if self.plain is not None:
            views += self._views(self.plain, 1, record, rng)
        for view, steps in ((views[0], "augment"), (views[-1], "plain_augment")):
            if view.shape[:2] != (self.pixels, self.pixels):
                sides = " x ".join(map(str, view.shape[:2]))
                raise DataError(
                    f"{self.function}.{steps} leaves a picture of {sides} where "
                    f"{self.function}.size is {self.pixels}: end with a step that sets both sides, such as "
                    "@RandomResizedCrop()"
                )
        return self._row(np.stack(views), self.pictures.label_N[record], record, 1.0)

    def _views(
        self, steps: Sequence[Augmentation], count: int, record: int, rng: np.random.Generator
    ) -> list[np.ndarray]:
        if not steps or not isinstance(first := steps[0], RandomResizedCrop):
            pixels = self.pictures.pixels(record)
            return [augment.apply(steps, pixels, rng) for _ in range(count)]
        # Which parts are wanted is drawn first: a JPEG of which they are large is decoded at half its size.
        sides = self.pictures.sides(record)
        boxes = [first.box(*sides, rng) for _ in range(count)]
        smallest = min(min(rows, columns) for _, _, rows, columns in boxes)
        pixels = self.pictures.pixels(record, math.ceil(ENLARGED * min(sides) * first.size / smallest))
        return [augment.apply(steps[1:], first.cut(pixels, box, sides), rng) for box in boxes]

    def identity(self, record: int) -> str:
        """The picture's name."""
        return f"{self.name}: {self.pictures.name(record)}"

    def padding(self) -> Batch:
        """A row without weight, to fill a last batch."""
        shape = (self.views + (self.plain is not None), self.pixels, self.pixels, self.pictures.channels)
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
