"""What is done to a picture before it is learnt from: typed steps that a recipe puts in a row.

    images.augment = [@RandomResizedCrop(), @Flip(), @ColorJitter()]

A step is called with uint8 pixels [H, W, C] and a generator, and gives uint8 pixels. All that is random
comes from the generator, which is keyed by the example's place in the stream: a picture looks the same on
every host and with any number of workers. Sizes come out as the last step that sets one says.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import gin
import numpy as np
from PIL import Image

from data_pipelines.errors import DataError
from data_pipelines.images.trivial_augment import TrivialAugment as TrivialAugment  # a step like these

LUMA = np.array([0.299, 0.587, 0.114], np.float32)
FILTERS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}
Filter = Literal["nearest", "bilinear", "bicubic", "lanczos"]
Box = tuple[int, int, int, int]  # top, left, rows, columns


class Augmentation(Protocol):
    """A step."""

    def __call__(self, pixels_HxWxC: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """New pixels, uint8 [H', W', C]; those given are not changed."""
        ...


def apply(steps: Sequence[Augmentation], pixels_HxWxC: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """All steps in their order."""
    for step in steps:
        pixels_HxWxC = step(pixels_HxWxC, rng)
    return pixels_HxWxC


def luma(pixels_HxWxC: np.ndarray) -> np.ndarray:
    """Brightness by ITU-R 601, full range, uint8 [H, W, 1]."""
    if pixels_HxWxC.shape[-1] == 1:
        return pixels_HxWxC
    return _to_bytes(pixels_HxWxC.astype(np.float32) @ LUMA)[..., None]


def resized(pixels_HxWxC: np.ndarray, height: int, width: int, filter: Filter = "bicubic") -> np.ndarray:
    """Of another size, by Pillow: with antialiasing, and for "bicubic" as MATLAB's imresize to .01 dB."""
    if pixels_HxWxC.shape[:2] == (height, width):
        return pixels_HxWxC
    return _resize(pixels_HxWxC, height, width, filter)


def _resize(
    pixels_HxWxC: np.ndarray,
    height: int,
    width: int,
    filter: Filter,
    edges: tuple[float, float, float, float] | None = None,
) -> np.ndarray:
    """All of the pixels, or those between left, upper, right and lower edges."""
    grey = pixels_HxWxC.shape[-1] == 1
    image = Image.fromarray(pixels_HxWxC[..., 0] if grey else pixels_HxWxC)
    made = np.asarray(image.resize((width, height), FILTERS[filter], edges))
    return made[..., None] if grey else made


@gin.configurable
@dataclass(frozen=True)
class Resize:
    """The shorter side to `size` pixels, the longer in proportion; both with `square`."""

    size: int = 32
    square: bool = False
    filter: Filter = "bicubic"

    def __call__(self, pixels_HxWxC: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        del rng
        height, width = pixels_HxWxC.shape[:2]
        scale = self.size / min(height, width)
        sides = (self.size, self.size) if self.square else (round(height * scale), round(width * scale))
        return resized(pixels_HxWxC, *sides, self.filter)


@gin.configurable
@dataclass(frozen=True)
class CenterCrop:
    """A square of `size` from the middle; a picture that is smaller is enlarged to it first."""

    size: int = 32

    def __call__(self, pixels_HxWxC: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        if min(pixels_HxWxC.shape[:2]) < self.size:
            pixels_HxWxC = Resize(self.size)(pixels_HxWxC, rng)
        top, left = ((side - self.size) // 2 for side in pixels_HxWxC.shape[:2])
        return pixels_HxWxC[top : top + self.size, left : left + self.size]


@gin.configurable
@dataclass(frozen=True)
class RandomCrop:
    """A square of `size` from anywhere, after `padding` pixels of mirror image on every side."""

    size: int = 32
    padding: int = 0

    def __call__(self, pixels_HxWxC: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        if self.padding:
            around = (self.padding, self.padding)
            pixels_HxWxC = np.pad(pixels_HxWxC, (around, around, (0, 0)), "reflect")
        height, width = pixels_HxWxC.shape[:2]
        if min(height, width) < self.size:
            raise DataError(
                f"RandomCrop.size {self.size}: a picture of {height} x {width} is smaller; put @Resize() "
                "before it, or take @RandomResizedCrop()"
            )
        top, left = rng.integers(height - self.size + 1), rng.integers(width - self.size + 1)
        return pixels_HxWxC[top : top + self.size, left : left + self.size]


@gin.configurable
@dataclass(frozen=True)
class RandomResizedCrop:
    """A part of the picture, of random area and shape, resized to a square (Szegedy et al., arXiv 1409.4842).

    Args:
      size: of the result.
      least_area: share of the picture's area, the smallest; the largest is all of it.
      ratio: width to height is drawn from 1 / ratio to ratio, evenly by its logarithm.
      filter: of the resizing.
    """

    size: int = 32
    least_area: float = 0.2
    ratio: float = 4 / 3
    filter: Filter = "bilinear"

    def __post_init__(self):
        if not 0 < self.least_area <= 1 or self.ratio < 1:
            raise DataError(
                f"RandomResizedCrop: least_area {self.least_area} must be in (0, 1], "
                f"ratio {self.ratio} at least 1"
            )

    def __call__(self, pixels_HxWxC: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        height, width = pixels_HxWxC.shape[:2]
        return self.cut(pixels_HxWxC, self.box(height, width, rng), (height, width))

    def cut(self, pixels_HxWxC: np.ndarray, box: Box, of: tuple[int, int]) -> np.ndarray:
        """The part `box` of a picture of height and width `of`, as a square.

        The pixels may be fewer than those, being what a JPEG was decoded at: the part is then cut at
        fractions of them.
        """
        top, left, rows, columns = box
        if pixels_HxWxC.shape[:2] == of:
            part = pixels_HxWxC[top : top + rows, left : left + columns]
            return resized(part, self.size, self.size, self.filter)
        down, across = (have / said for have, said in zip(pixels_HxWxC.shape[:2], of, strict=True))
        edges = left * across, top * down, (left + columns) * across, (top + rows) * down
        return _resize(pixels_HxWxC, self.size, self.size, self.filter, edges)

    def box(self, height: int, width: int, rng: np.random.Generator) -> Box:
        """The part of a picture of this size that is taken: top, left, rows, columns."""
        for _ in range(10):
            area = height * width * rng.uniform(self.least_area, 1.0)
            shape = math.exp(rng.uniform(-math.log(self.ratio), math.log(self.ratio)))
            rows, columns = round(math.sqrt(area / shape)), round(math.sqrt(area * shape))
            if 0 < rows <= height and 0 < columns <= width:
                top, left = rng.integers(height - rows + 1), rng.integers(width - columns + 1)
                return int(top), int(left), rows, columns
        # A picture so long that no such part fits: its middle, as square as the bounds allow.
        rows, columns = min(height, round(width * self.ratio)), min(width, round(height * self.ratio))
        return (height - rows) // 2, (width - columns) // 2, rows, columns


@gin.configurable
@dataclass(frozen=True)
class Flip:
    """Left and right change places, with a probability."""

    probability: float = 0.5

    def __call__(self, pixels_HxWxC: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        return pixels_HxWxC[:, ::-1] if rng.random() < self.probability else pixels_HxWxC


@gin.configurable
@dataclass(frozen=True)
class Turn:
    """By none, one, two or three quarters of a circle, all as likely; of a square."""

    def __call__(self, pixels_HxWxC: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        return np.rot90(pixels_HxWxC, int(rng.integers(4)))


@gin.configurable
@dataclass(frozen=True)
class ColorJitter:
    """Brightness, contrast and saturation by random factors from 1 - x to 1 + x, with a probability.

    In this order always; contrast is about the mean luma, saturation about each pixel's. A grey picture keeps
    its saturation.
    """

    brightness: float = 0.4
    contrast: float = 0.4
    saturation: float = 0.2
    probability: float = 0.8

    def __call__(self, pixels_HxWxC: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        drawn = rng.random(4)
        if drawn[0] >= self.probability:
            return pixels_HxWxC
        amounts = np.array([self.brightness, self.contrast, self.saturation])
        bright, contrast, saturation = (1 + amounts * (2 * drawn[1:] - 1)).astype(np.float32)
        # The three are one matrix on colours and a constant: one pass over the pixels.
        colours = pixels_HxWxC.shape[-1] == 3
        mean = bright * (pixels_HxWxC.reshape(-1, pixels_HxWxC.shape[-1]).mean(0, np.float32))
        middle = float(mean @ LUMA) if colours else float(mean[0])
        shift = (1 - contrast) * middle
        if not colours:
            return _to_bytes(pixels_HxWxC * (bright * contrast) + shift)
        mixing = saturation * np.eye(3, dtype=np.float32) + (1 - saturation) * LUMA[:, None]
        return _to_bytes(pixels_HxWxC.astype(np.float32) @ (mixing * (bright * contrast)) + shift)


@gin.configurable
@dataclass(frozen=True)
class Grey:
    """Colours replaced by their luma, in all three channels, with a probability."""

    probability: float = 0.2

    def __call__(self, pixels_HxWxC: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        if rng.random() >= self.probability or pixels_HxWxC.shape[-1] == 1:
            return pixels_HxWxC
        return np.repeat(luma(pixels_HxWxC), 3, -1)


def _to_bytes(values: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)
