"""How well a run restores a set of pictures, beside what needs no model: the papers' tables.

    run = opening.open_run("runs/x2", family="vision")
    rows = measure_restoration(run, "set5.parquet", "x2")

Every picture is degraded by the protocol of `restoration`, restored, rounded to 8 bits as it would be
written, and compared; figures are means of those of single pictures.
"""

import io
from collections import Counter, defaultdict
from collections.abc import Iterator
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

RESTORED = "restored"
BLURS = (0.6, 0.7, 0.8, 1.0, 1.2, 1.5, 2.0)  # standard deviations; the best of them is a row


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
    protocol = Protocol("rgb" if _of_colours(restorer, task) else "y", SCALES.get(task, 0))
    figures, left_out = defaultdict(list), Counter()
    for original, degraded in _pairs(restorer, path, task, strong, left_out):
        made = {RESTORED: to_bytes(restorer(degraded, task, sigma)), **_plain(degraded, task)}
        for method, pixels in made.items():
            pair = restoration.psnr(pixels, original, protocol), restoration.ssim(pixels, original, protocol)
            figures[method].append(pair)
        if task == "denoise":
            for wide in BLURS:
                figures[wide].append(restoration.psnr(blurred(degraded, wide), original, protocol))
    if not figures:
        raise UserError(f"{path}: none of its pictures can be used ({left_out.total()} cannot be decoded)")
    if task == "denoise":
        best = max(BLURS, key=lambda wide: np.mean(figures[wide]))
        again = _pairs(restorer, path, task, strong, Counter())
        alike = [restoration.ssim(blurred(noisy, best), original, protocol) for original, noisy in again]
        figures[f"Gaussian blur, sigma {best:g}"] = list(zip(figures[best], alike, strict=True))
    common = {"set": Path(path).stem, "task": task}
    said = {"degraded": _words(restorer, task, strong), "compared": str(protocol)}
    rows = []
    for method, pairs in figures.items():
        if isinstance(method, str):
            psnr, ssim = (round(float(mean), 4) for mean in np.mean(pairs, axis=0))
            counts = {"pictures": len(pairs), "left_out": left_out.total()}
            rows.append(common | {"method": method, "psnr": psnr, "ssim": ssim} | counts | said)
    return rows


def _of_colours(restorer: RunRestorer, task: str) -> bool:
    """Whether all three colours are compared: what is enlarged or a JPEG is by luma, as in print."""
    return task == "denoise" and restorer.channels == 3


def _pairs(
    restorer: RunRestorer, path: str | Path, task: str, sigma: float, left_out: Counter[str]
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Originals and what was made of them; those that cannot be decoded are counted by reason."""
    # What is enlarged is measured on luma of 16 to 235, of grey pictures too: Set14 has one, and with its own
    # values the set's bicubic row is .09 dB lower.
    mode: Mode = "RGB" if task in SCALES or _of_colours(restorer, task) else "L"
    for number, file in enumerate(PictureSource(str(path)).pictures()):
        try:
            original = decoding.decode(file.data, mode)
        except PictureError as error:
            left_out[error.reason] += 1
            continue
        original = restoration.cropped(original, SCALES.get(task, 1))
        yield original, _degraded(restorer, original, task, sigma, number)


def _degraded(
    restorer: RunRestorer, original: np.ndarray, task: str, sigma: float, number: int
) -> np.ndarray:
    if task == "denoise":
        return restoration.noisy(original, sigma, seed=number)
    if task == "deblock":
        return _jpeg(original, restorer.objective.quality[0])
    return restoration.smaller(original, SCALES[task])


def _plain(degraded: np.ndarray, task: str) -> dict[str, np.ndarray]:
    """What needs no model and no choice."""
    if task == "denoise":
        return {"noisy": degraded}
    return (
        {"JPEG": degraded} if task == "deblock" else {"bicubic": restoration.larger(degraded, SCALES[task])}
    )


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
