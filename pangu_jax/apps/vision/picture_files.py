"""Picture files restored to PNG files of the same names, one after the other."""

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from data_pipelines.images import decoding
from data_pipelines.images.decoding import PictureError
from pangu_jax.apps.vision.restoring import RunRestorer, to_bytes
from pangu_jax.errors import UserError
from pangu_jax.runs.run_directory import write_atomically
from pangu_jax.workloads.vision.model.degrading import SCALES


def planned(images: Sequence[str | Path], out: str | Path, overwrite: bool = False) -> dict[Path, Path]:
    """Picture -> the PNG that is to be made of it in the folder `out`. Nothing is written yet.

    Raises:
      UserError: two pictures would be one PNG, one is there already, or `out` is no folder.
    """
    folder, found, of = Path(out), {}, {}
    for image in map(Path, images):
        png = folder / f"{image.stem}.png"
        if png in of:
            raise UserError(
                f"{of[png]} and {image} would both be {png}: restore them into two folders, or rename one"
            )
        if png.resolve() == image.resolve():
            raise UserError(f"{png} would be written over the picture itself: give another folder as --out")
        if png.exists() and not overwrite:
            raise UserError(f"{png} is there already: give another folder as --out, or --overwrite")
        of[png] = image
        found[image] = png
    if folder.exists() and not folder.is_dir():
        raise UserError(f"--out {folder} is a file: give a folder")
    return found


def restore_files(
    restorer: RunRestorer, files: dict[Path, Path], task: str, sigma: float | None = None
) -> Iterator[dict[str, Any]]:
    """A row per picture, once its file is written: `image`, and `out`, `from` and `to` (height, width) and
    `seconds`, or `refused` and why.

    Args:
      restorer: of a run.
      files: of `planned`.
      task: one of the run's.
      sigma: of noise.

    Raises:
      UserError: the run was not trained for the task, or a file cannot be written.
    """
    restorer.require(task, sigma)
    for image, png in files.items():
        try:
            png.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"--out {png.parent}: {error.strerror}; give one that can be written") from None
        began = time.perf_counter()
        row: dict[str, Any] = {"image": str(image)}
        try:
            pixels = read(image, SCALES.get(task, 1))
        except PictureError as error:
            row["refused"] = str(error)
        else:
            restored = to_bytes(restorer(pixels, task, sigma))
            write_atomically(png, decoding.encode_png(restored))
            row |= {"out": str(png), "from": pixels.shape[:2], "to": restored.shape[:2]}
            row["seconds"] = round(time.perf_counter() - began, 2)
        yield row


def read(image: Path, scale: int = 1) -> np.ndarray:
    """A picture's pixels, uint8 [H, W, 1] of a grey one, else [H, W, 3].

    Args:
      image: its file.
      scale: how much larger it is to become.

    Raises:
      PictureError: it cannot be read or decoded, is transparent in places, or would become too large.
    """
    try:
        data = image.read_bytes()
    except OSError as error:
        raise PictureError("cannot be read", error.strerror or "") from None
    height, width = decoding.size_of(data)
    if height * width * scale**2 > decoding.MAX_PIXELS:
        raise PictureError("too many pixels", f"{width} x {height}, {scale} times as large")
    traits = decoding.traits_of(data)
    if traits.transparent:
        raise PictureError("transparent in places", "lay it on a background first")
    return decoding.decode(data, "L" if traits.grey else "RGB")
