"""How well a run restores a set of pictures, beside what needs no model: the papers' tables.

    run = opening.open_run("runs/x2", family="vision")
    rows = measure_restoration(run, "set5.parquet", "x2")

Every picture is degraded by the protocol of `restoration`, restored, rounded to 8 bits as it would be
written, and compared; figures are means of those of single pictures.
"""

import io
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from data_pipelines.images import decoding
from data_pipelines.images.decoding import Mode, PictureError
from data_pipelines.images.sources import PictureSource
from pangu_jax.apps.vision import restoration
from pangu_jax.apps.vision.restoration import Protocol
from pangu_jax.apps.vision.restoring import RunRestorer, to_bytes
from pangu_jax.errors import UserError
from pangu_jax.runs.opening import OpenedRun
from pangu_jax.workloads.vision.model.degrading import SCALES

RESTORED, BLUR = "restored", "Gaussian blur"
BLURS = (0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.2, 1.4)  # standard deviations; the best of them is a row


def measure_restoration(
    run: OpenedRun | RunRestorer, path: str | Path, task: str, sigma: float | None = None
) -> list[dict[str, Any]]:
    """Rows of `set`, `task`, `method`, `psnr` (dB), `ssim`, `pictures`, `left_out` (not to be decoded), and
    `degraded` and `compared`, which name kernel or noise, channel and shave.

    The first is the run's. Beside enlarging stands bicubic interpolation; beside denoising the noisy picture
    and the Gaussian blur that does best on the set; beside deblocking the JPEG.

    Args:
      run: of the family "vision".
      path: of the set: a folder, archive or table of pictures.
      task: one of the run's.
      sigma: of noise; None where the run knows only one. A JPEG has the least quality that the run knows.

    Raises:
      UserError: the run was not trained for the task, or no picture of the set can be used.
      DataError: there is nothing at the path.
    """
    restorer = run if isinstance(run, RunRestorer) else RunRestorer(run)
    strong = restorer.require(task, sigma)
    colours = task == "denoise" and restorer.channels == 3
    protocol = Protocol("rgb" if colours else "y", SCALES.get(task, 0))
    figures, left_out = defaultdict(list), 0
    for number, file in enumerate(PictureSource(str(path)).pictures()):
        try:
            mode: Mode = "L" if decoding.traits_of(file.data).grey else "RGB"
            if not colours and task not in SCALES:
                mode = "L"  # what a grey model sees of a set of colours
            original = decoding.decode(file.data, mode)
        except PictureError:
            left_out += 1
            continue
        original = restoration.cropped(original, SCALES.get(task, 1))
        degraded = _degraded(restorer, original, task, strong, number)
        made = {RESTORED: to_bytes(restorer(degraded, task, sigma)), **_plain(degraded, task)}
        for method, pixels in made.items():
            pair = restoration.psnr(pixels, original, protocol), restoration.ssim(pixels, original, protocol)
            figures[method].append(pair)
    if not figures:
        raise UserError(f"{path}: none of its pictures can be used ({left_out} cannot be decoded)")
    common = {"set": Path(path).stem, "task": task}
    said = {"degraded": _words(restorer, task, strong), "compared": str(protocol)}
    rows = []
    for method, pairs in _with_best_blur(figures).items():
        psnr, ssim = (round(float(mean), 4) for mean in np.mean(pairs, axis=0))
        counts = {"pictures": len(pairs), "left_out": left_out}
        rows.append(common | {"method": method, "psnr": psnr, "ssim": ssim} | counts | said)
    return rows


def _degraded(
    restorer: RunRestorer, original: np.ndarray, task: str, sigma: float, number: int
) -> np.ndarray:
    if task == "denoise":
        return restoration.noisy(original, sigma, seed=number)
    if task == "deblock":
        return _jpeg(original, restorer.objective.quality[0])
    return restoration.smaller(original, SCALES[task])


def _plain(degraded: np.ndarray, task: str) -> dict[str, np.ndarray]:
    """What needs no model."""
    if task == "denoise":
        return {"noisy": degraded} | {f"{BLUR}, sigma {wide:g}": blurred(degraded, wide) for wide in BLURS}
    return (
        {"JPEG": degraded} if task == "deblock" else {"bicubic": restoration.larger(degraded, SCALES[task])}
    )


def _with_best_blur(figures: Mapping[str, list[tuple[float, float]]]) -> dict[str, list[tuple[float, float]]]:
    """Of the blurs the one of the highest PSNR."""
    blurs = [name for name in figures if name.startswith(BLUR)]
    best = max(blurs, key=lambda name: np.mean([psnr for psnr, _ in figures[name]]), default="")
    return {name: pairs for name, pairs in figures.items() if name == best or name not in blurs}


def _words(restorer: RunRestorer, task: str, sigma: float) -> str:
    if task == "denoise":
        return f"Gaussian noise of {sigma:g}, not clipped"
    if task == "deblock":
        return f"JPEG of quality {restorer.objective.quality[0]}"
    return f"bicubic, antialiased (a = -.5), to 1/{SCALES[task]}, 8 bits"


def _jpeg(pixels_HxWx1: np.ndarray, quality: int) -> np.ndarray:
    file = io.BytesIO()
    Image.fromarray(pixels_HxWx1[..., 0]).save(file, "JPEG", quality=quality)
    return decoding.decode(file.getvalue(), "L")


def blurred(pixels_HxWxC: np.ndarray, sigma: float) -> np.ndarray:
    """By a Gaussian of this standard deviation; the picture goes on beyond its border as its mirror image."""
    reach = int(4 * sigma + 0.5)
    weights = np.exp(-(np.arange(-reach, reach + 1) ** 2) / (2 * sigma**2))
    weights /= weights.sum()
    x = np.pad(np.asarray(pixels_HxWxC, np.float64), ((reach, reach), (reach, reach), (0, 0)), "symmetric")
    for axis in (0, 1):
        x = np.lib.stride_tricks.sliding_window_view(x, len(weights), axis=axis) @ weights
    return x
