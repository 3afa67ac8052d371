"""Views of a picture with boxes: parts of it, shrunk or enlarged, mirrored, and what is left of its boxes.

    boxed_images.views = [@CropAround(), @FlipBoxes()]

A step draws from the generator alone, which is keyed by the example and by how often it has come round.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import gin
import numpy as np
from PIL import Image

from data_pipelines.errors import DataError
from data_pipelines.images.boxes import Boxes

GREY = 114  # around a picture that does not fill its view


class BoxedView(NamedTuple):
    """A view, and where it is in its picture.

    Attributes:
      pixels_HxWxC: uint8.
      boxes: in pixels of the view, cut at its border.
      scale: pixels of the view for one of the picture, across and down: negative of a view that is mirrored.
      shift: x and y of the picture's corner in the view: x of the view = x of the picture * scale + shift.
    """

    pixels_HxWxC: np.ndarray
    boxes: Boxes
    scale: tuple[float, float]
    shift: tuple[float, float]


class ViewStep(Protocol):
    """A step that knows where boxes go."""

    def __call__(self, view: BoxedView, height: int, width: int, rng: np.random.Generator) -> BoxedView:
        """A new view; `height` and `width` are those that the last step must leave."""
        ...


def whole(pixels_HxWxC: np.ndarray, boxes: Boxes) -> BoxedView:
    """A picture as it is."""
    return BoxedView(pixels_HxWxC, boxes, (1.0, 1.0), (0.0, 0.0))


def cut(
    view: BoxedView, left: float, top: float, scale: float, height: int, width: int, least_seen: float = 0.25
) -> BoxedView:
    """The part from `left`, `top` on, `scale` times as large, of this size; grey where the picture has ended.

    Args:
      view: whose pixels and boxes are taken.
      left: in its pixels; may be outside.
      top: likewise.
      scale: pixels of the result for one of the view.
      height: of the result.
      width: of the result.
      least_seen: share of a box's area; of which less is left, is left out.
    """
    rows, columns = view.pixels_HxWxC.shape[:2]
    low_x, low_y = max(left, 0.0), max(top, 0.0)
    high_x, high_y = min(left + width / scale, columns), min(top + height / scale, rows)
    pixels = np.full((height, width, view.pixels_HxWxC.shape[-1]), GREY, np.uint8)
    to_x, to_y = round((low_x - left) * scale), round((low_y - top) * scale)
    wide = min(width - to_x, round((high_x - low_x) * scale))
    tall = min(height - to_y, round((high_y - low_y) * scale))
    if wide > 0 and tall > 0:
        grey = view.pixels_HxWxC.shape[-1] == 1
        image = Image.fromarray(view.pixels_HxWxC[..., 0] if grey else view.pixels_HxWxC)
        part = np.asarray(
            image.resize((wide, tall), Image.Resampling.BILINEAR, (low_x, low_y, high_x, high_y))
        )
        pixels[to_y : to_y + tall, to_x : to_x + wide] = part[..., None] if grey else part
    edges = (view.boxes.edges_Nx4 - np.array([left, top, left, top], np.float32)) * scale
    inside = np.clip(edges, 0, np.array([width, height, width, height], np.float32))
    area, seen = (np.prod(np.maximum(of[:, 2:] - of[:, :2], 0), axis=1) for of in (edges, inside))
    kept = seen > least_seen * area
    boxes = Boxes(inside[kept].astype(np.float32), view.boxes.label_N[kept])
    scales = (view.scale[0] * scale, view.scale[1] * scale)
    shifts = ((view.shift[0] - left) * scale, (view.shift[1] - top) * scale)
    return BoxedView(pixels, boxes, scales, shifts)


class PhotoPart(NamedTuple):
    """What of a photo is in a view of fixed size.

    Attributes:
      zoom: 1 where the whole photo is as large as fits; 2 where it is twice as large, and so on.
      left, top: of the part, in pixels of the zoomed photo.
    """

    zoom: float
    left: int
    top: int


def parts(
    rows: int, columns: int, height: int, width: int, zooms: Sequence[float], overlap: float
) -> list[PhotoPart]:
    """Tiles that cover a photo at each zoom and overlap by a share of their sides at least.

    Args:
      rows: of the photo.
      columns: of the photo.
      height: of a view.
      width: of a view.
      zooms: see `PhotoPart`.
      overlap: of tiles.
    """
    fit = min(height / rows, width / columns)
    return [
        PhotoPart(zoom, left, top)
        for zoom in zooms
        for top in _starts(round(rows * fit * zoom), height, overlap)
        for left in _starts(round(columns * fit * zoom), width, overlap)
    ]


def part_of(view: BoxedView, part: PhotoPart, height: int, width: int) -> BoxedView:
    """A part of a photo, as a view of this size."""
    rows, columns = view.pixels_HxWxC.shape[:2]
    scale = part.zoom * min(height / rows, width / columns)
    return cut(view, part.left / scale, part.top / scale, scale, height, width)


def _starts(length: int, tile: int, overlap: float) -> list[int]:
    if length <= tile:
        return [0]
    count = math.ceil((length - tile) / (tile * (1 - overlap))) + 1
    return np.linspace(0, length - tile, count).round().astype(int).tolist()


@gin.configurable
@dataclass(frozen=True)
class CropAround:
    """A part at a random scale: about a box with a probability, else from anywhere.

    Args:
      least: pixels of the view for one of the picture, times what it takes to fit the whole picture in it.
      most: likewise; drawn between the two evenly by its logarithm.
      about: probability that a box, drawn so that each class has the same chance, lies in it.
      least_seen: share of a box's area, of which less is left, is left out.
    """

    least: float = 0.8
    most: float = 2.0
    about: float = 0.5
    least_seen: float = 0.25

    def __post_init__(self):
        if not 0 < self.least <= self.most or not 0 <= self.about <= 1:
            raise DataError(
                f"CropAround: least {self.least} and most {self.most} must be above 0, about {self.about} "
                "from 0 to 1"
            )

    def __call__(self, view: BoxedView, height: int, width: int, rng: np.random.Generator) -> BoxedView:
        rows, columns = view.pixels_HxWxC.shape[:2]
        factor = math.exp(rng.uniform(math.log(self.least), math.log(self.most)))
        scale = factor * min(height / rows, width / columns)
        tall, wide = height / scale, width / scale
        place = rng.random(2)
        label_N = view.boxes.label_N
        if rng.random() < self.about and len(label_N):
            chosen = rng.choice(np.flatnonzero(label_N == rng.choice(np.unique(label_N))))
            left, top, right, bottom = view.boxes.edges_Nx4[chosen].tolist()
            # Anywhere so that the box is inside, or, of one that is larger, its middle.
            x = _between(right - wide, left, place[0])
            y = _between(bottom - tall, top, place[1])
        else:
            x, y = place[0] * (columns - wide), place[1] * (rows - tall)
        # No more grey than there must be.
        x = float(np.clip(x, min(0.0, columns - wide), max(0.0, columns - wide)))
        y = float(np.clip(y, min(0.0, rows - tall), max(0.0, rows - tall)))
        return cut(view, x, y, scale, height, width, self.least_seen)


def _between(low: float, high: float, place: float) -> float:
    return low + (high - low) * place if low < high else (low + high) / 2


@gin.configurable
@dataclass(frozen=True)
class FlipBoxes:
    """Left and right change places, above and below too, each with a probability."""

    across: float = 0.5
    down: float = 0.0

    def __call__(self, view: BoxedView, height: int, width: int, rng: np.random.Generator) -> BoxedView:
        del height, width
        drawn = rng.random(2)
        for axis, turned in ((0, drawn[0] < self.across), (1, drawn[1] < self.down)):
            if turned:
                view = _flipped(view, axis)
        return view


def _flipped(view: BoxedView, axis: int) -> BoxedView:
    """Mirrored: axis 0 left and right, 1 above and below."""
    length = view.pixels_HxWxC.shape[1 - axis]
    edges = view.boxes.edges_Nx4.copy()
    edges[:, [axis, axis + 2]] = length - edges[:, [axis + 2, axis]]
    scale, shift = list(view.scale), list(view.shift)
    scale[axis], shift[axis] = -scale[axis], length - shift[axis]
    pixels = view.pixels_HxWxC[:, ::-1] if axis == 0 else view.pixels_HxWxC[::-1]
    return BoxedView(
        pixels,
        Boxes(edges, view.boxes.label_N),
        (scale[0], scale[1]),
        (shift[0], shift[1]),
    )


def viewed(
    steps: Sequence[ViewStep], view: BoxedView, height: int, width: int, rng: np.random.Generator
) -> BoxedView:
    """All steps in their order."""
    for step in steps:
        view = step(view, height, width, rng)
    return view


def in_picture(edges_Nx4: np.ndarray, scale: np.ndarray, shift: np.ndarray) -> np.ndarray:
    """Boxes of a view in pixels of its picture, fp32 [N, 4]: of a view that is not mirrored."""
    return (edges_Nx4 - np.tile(shift, 2)) / np.tile(scale, 2)
