"""Pairs that are drawn: coloured shapes in places, described in Chinese. No network is needed.

Most pictures have two shapes and are described in both orders of them; every such description is of one
picture, so those that are held out are of shapes that are never seen together so, while each colour, shape
and place of them is. Beside them shapes alone are learnt from, several pictures of each, from which a model
learns sooner what is where. Colours of shapes and of the ground, sizes and places vary from picture to
picture.
"""

import hashlib
import itertools
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageDraw

from data_pipelines.images.decoding import encode_png
from data_pipelines.images.picture import PictureFile

NAME = "drawn:shapes"
VERSION = 2  # of what is drawn
SIDE = 64  # pixels
HELD_OUT = 100  # pictures of two shapes
ALONE = 4  # pictures of each shape alone, in each place
_FINE = 2  # drawn so many times as large, for smooth edges

COLOURS = {
    "红色": (220, 40, 40),
    "橙色": (245, 150, 30),
    "黄色": (245, 230, 60),
    "绿色": (50, 160, 60),
    "蓝色": (40, 80, 210),
    "紫色": (140, 60, 170),
    "黑色": (25, 25, 25),
}
SHAPES = ("圆", "三角形", "正方形", "十字")
# Two places that a picture has shapes in: their names, and their middles across and down.
PLACES = (
    (("左边", 0.27, 0.5), ("右边", 0.73, 0.5)),
    (("上边", 0.5, 0.27), ("下边", 0.5, 0.73)),
    (("左上角", 0.27, 0.27), ("右下角", 0.73, 0.73)),
    (("右上角", 0.73, 0.27), ("左下角", 0.27, 0.73)),
)


class DrawnPair(NamedTuple):
    """A picture and its descriptions: one, or two of two shapes."""

    picture: PictureFile
    captions: tuple[str, ...]


def pairs(seed: int = 0) -> Iterator[DrawnPair]:
    """All of them: 3,024 of two shapes, of which 100 are held out, and 896 of one. The seed is of what
    varies, and of nothing that is described."""
    things = list(itertools.product(COLOURS, SHAPES))
    scenes = [
        (places, both)
        for places in PLACES
        for both in itertools.product(things, things)
        if both[0] != both[1]
    ]
    ranks = sorted(range(len(scenes)), key=lambda number: hashlib.sha256(f"{number}".encode()).digest())
    held_out = set(ranks[:HELD_OUT])
    for number, (places, both) in enumerate(scenes):
        rng = np.random.Generator(np.random.Philox(key=[seed, number]))
        side = "validation" if number in held_out else "train"
        yield _pair(number, side, list(zip(places, both, strict=True)), rng)
    alone = itertools.product(itertools.chain(*PLACES), things, range(ALONE))
    for number, (place, thing, _) in enumerate(alone, start=len(scenes)):
        rng = np.random.Generator(np.random.Philox(key=[seed, number]))
        yield _pair(number, "train", [(place, thing)], rng)


def _pair(number: int, side: str, shown: list[tuple[Any, Any]], rng: np.random.Generator) -> DrawnPair:
    """Of (place, (colour, shape)) of each shape."""
    pixels = _drawn([(place[1:], thing) for place, thing in shown], rng)
    said = [f"{colour}的{shape}在{place[0]}" for place, (colour, shape) in shown]
    orders = dict.fromkeys(("，".join(said), "，".join(reversed(said))))
    return DrawnPair(PictureFile(f"{number:04}.png", encode_png(pixels), side=side), tuple(orders))


def _drawn(things: list, rng: np.random.Generator) -> np.ndarray:
    """uint8 [S, S, 3]."""
    full = SIDE * _FINE
    ground = tuple(int(value) for value in rng.integers(215, 256, 3))
    image = Image.new("RGB", (full, full), ground)
    pen = ImageDraw.Draw(image)
    for (across, down), (colour, shape) in things:
        x, y = (full * (middle + rng.uniform(-0.05, 0.05)) for middle in (across, down))
        radius = full * rng.uniform(0.13, 0.19)
        shade = rng.integers(-18, 19, 3)
        paint = tuple(int(value) for value in np.clip(np.array(COLOURS[colour]) + shade, 0, 255))
        _draw(pen, shape, x, y, radius, paint)
    return np.asarray(image.reduce(_FINE))


def _draw(pen: ImageDraw.ImageDraw, shape: str, x: float, y: float, r: float, paint: tuple) -> None:
    if shape == "圆":
        pen.ellipse((x - r, y - r, x + r, y + r), paint)
    elif shape == "正方形":
        half = 0.88 * r
        pen.rectangle((x - half, y - half, x + half, y + half), paint)
    elif shape == "三角形":
        pen.polygon(((x, y - r), (x - r, y + 0.8 * r), (x + r, y + 0.8 * r)), paint)
    else:
        thin = 0.32 * r
        pen.rectangle((x - r, y - thin, x + r, y + thin), paint)
        pen.rectangle((x - thin, y - r, x + thin, y + r), paint)
