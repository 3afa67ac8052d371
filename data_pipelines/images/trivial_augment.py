"""Augmentation with nothing to tune: one change, drawn from a list, as strong as is drawn.

TrivialAugment: Müller & Hutter, ICCV 2021, arXiv 2103.10158.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gin
import numpy as np
from PIL import Image, ImageEnhance, ImageOps

Change = Callable[[Image.Image, float], Image.Image]  # strength from -1 to 1


def _enhance(kind: Callable[[Image.Image], Any]) -> Change:
    return lambda image, strength: kind(image).enhance(1 + 0.9 * strength)


def _affine(matrix: Callable[[float, Image.Image], tuple[float, ...]]) -> Change:
    return lambda image, strength: image.transform(
        image.size, Image.Transform.AFFINE, matrix(strength, image), Image.Resampling.BILINEAR
    )


# Strengths are those of RandAugment in timm and torchvision, translations as shares of the side.
COLOURS: dict[str, Change] = {
    "identity": lambda image, strength: image,
    "autocontrast": lambda image, strength: ImageOps.autocontrast(image),
    "equalize": lambda image, strength: ImageOps.equalize(image),
    "posterize": lambda image, strength: ImageOps.posterize(image, 8 - round(4 * abs(strength))),
    "solarize": lambda image, strength: ImageOps.solarize(image, round(256 * (1 - abs(strength)))),
    "color": _enhance(ImageEnhance.Color),
    "contrast": _enhance(ImageEnhance.Contrast),
    "brightness": _enhance(ImageEnhance.Brightness),
    "sharpness": _enhance(ImageEnhance.Sharpness),
}
PLACES: dict[str, Change] = {
    "rotate": lambda image, strength: image.rotate(30 * strength, Image.Resampling.BILINEAR),
    "shear_x": _affine(lambda strength, image: (1, 0.3 * strength, 0, 0, 1, 0)),
    "shear_y": _affine(lambda strength, image: (1, 0, 0, 0.3 * strength, 1, 0)),
    "translate_x": _affine(lambda strength, image: (1, 0, 0.45 * strength * image.width, 0, 1, 0)),
    "translate_y": _affine(lambda strength, image: (1, 0, 0, 0, 1, 0.45 * strength * image.height)),
}


@gin.configurable
@dataclass(frozen=True)
class TrivialAugment:
    """One change of a list, evenly drawn, of a strength that is evenly drawn.

    Args:
      moves: whether it may be one that moves things: rotation, shear, translation; what comes in from outside
        is black. Not where boxes say where things are, as in `boxed_images.augment`.
    """

    moves: bool = True

    def __call__(self, pixels_HxWxC: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        changes = [*COLOURS.values(), *(PLACES.values() if self.moves else ())]
        at, strength = rng.integers(len(changes)), rng.uniform(-1, 1)
        grey = pixels_HxWxC.shape[-1] == 1
        image = Image.fromarray(pixels_HxWxC[..., 0] if grey else pixels_HxWxC)
        made = np.asarray(changes[at](image, float(strength)))
        return made[..., None] if grey else made
