"""Photos with boxes drawn on them."""

from collections.abc import Callable, Sequence

import jax
import numpy as np
from PIL import Image as Pillow
from PIL import ImageDraw

from pangu_jax.workloads import Batch
from pangu_jax.workloads.exhibits import Exhibit, Image
from pangu_jax.workloads.vision.model.detecting import Detections

SHOWN, COLUMNS = 8, 4
LEAST = 0.3  # score of what is drawn
COLOURS = ((255, 64, 64), (64, 220, 90), (80, 150, 255), (255, 190, 40), (200, 110, 255), (60, 220, 220))


def drawn(
    pixels_HxWxC: np.ndarray, edges_Nx4: np.ndarray, label_N: np.ndarray, width: int = 2, truth: bool = False
) -> np.ndarray:
    """uint8 [H, W, 3] with a frame around each box in its class's colour, or in white."""
    rgb = np.repeat(pixels_HxWxC, 3, -1) if pixels_HxWxC.shape[-1] == 1 else pixels_HxWxC
    image = Pillow.fromarray(np.ascontiguousarray(rgb))
    pen = ImageDraw.Draw(image)
    height, wide = rgb.shape[:2]
    for edges, label in zip(edges_Nx4, label_N, strict=True):
        left, top, right, bottom = np.clip(edges, 0, (wide, height, wide, height)).tolist()
        if right - left >= 1 and bottom - top >= 1:
            colour = (255, 255, 255) if truth else COLOURS[int(label) % len(COLOURS)]
            pen.rectangle((left, top, right - 1, bottom - 1), outline=colour, width=width)
    return np.asarray(image)


def exhibits(
    batch: Batch, find: Callable[[jax.Array], Detections], classes: Sequence[str]
) -> Sequence[Exhibit]:
    """A sheet of photos: white is what is there, colours are what was found.

    Args:
      batch: held-out photos, as `PictureDetector.batch_shapes` has them.
      find: what is found in them, by their pixels.
      classes: names.
    """
    found = jax.tree.map(np.asarray, find(batch["image"]))
    sheets = []
    for place in range(int(batch["weight"].sum())):
        there = batch["label"][place] >= 0
        pixels = drawn(
            batch["image"][place], batch["edges"][place][there], batch["label"][place][there], 3, True
        )
        sure = found.score_BxK[place] >= LEAST
        sheets.append(drawn(pixels, found.edges_BxKx4[place][sure], found.label_BxK[place][sure], 1))
    blank = [np.zeros_like(sheets[0])] * (-len(sheets) % COLUMNS)
    rows = [
        np.concatenate((sheets + blank)[first : first + COLUMNS], axis=1)
        for first in range(0, len(sheets), COLUMNS)
    ]
    named = ", ".join(classes)
    return [
        Image(f"held out: white is there, colours are found above {LEAST}: {named}", np.concatenate(rows))
    ]
