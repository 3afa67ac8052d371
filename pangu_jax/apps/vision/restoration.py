"""How pictures are degraded to be restored, and how near a restored one comes: PSNR and SSIM.

A figure says nothing without its kernel, channel and shave: on the same pictures they are worth more than
most methods are apart. What is here is the protocol of the papers:

- smaller: cropped to a multiple of the scale, by bicubic interpolation with antialiasing (a = -.5, MATLAB's
  imresize; Pillow's BICUBIC is the same to .01 dB), rounded to 8 bits;
- noise: Gaussian, neither rounded nor clipped, from a seed per picture;
- channel: luma of ITU-R BT.601 from 16 to 235 ("y"), or all three colours ("rgb"); grey is as it is;
- shave: so many pixels of every border do not count, as many as the scale is.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from data_pipelines.images.augment import resized
from pangu_jax.errors import UserError

PEAK = 255.0
_BT601 = np.array([65.481, 128.553, 24.966]) / PEAK
_WINDOW, _SIGMA = 11, 1.5  # of SSIM
_STABLE = (0.01 * PEAK) ** 2, (0.03 * PEAK) ** 2


@dataclass(frozen=True)
class Protocol:
    """How a restored picture is compared with its original.

    Args:
      channel: "y" for luma, or "rgb". Of a grey picture both mean the picture.
      shave: pixels of every border that do not count.
    """

    channel: Literal["y", "rgb"] = "y"
    shave: int = 0

    def __str__(self) -> str:
        channel = "luma of BT.601, 16 to 235" if self.channel == "y" else "RGB"
        return f"{channel}, {self.shave} pixels shaved"

    def compared(self, pixels_HxWxC: np.ndarray) -> np.ndarray:
        """What counts of a picture of 0 to 255, float64 [H', W', C']."""
        pixels = np.asarray(pixels_HxWxC, np.float64)
        if pixels.shape[-1] == 3 and self.channel == "y":
            pixels = luma(pixels)
        inner = slice(self.shave, -self.shave or None)
        return pixels[inner, inner]


def luma(pixels_HxWx3: np.ndarray) -> np.ndarray:
    """Y of BT.601, from 16 to 235, [H, W, 1], of R, G, B from 0 to 255."""
    return (np.asarray(pixels_HxWx3, np.float64) @ _BT601 + 16.0)[..., None]


def psnr(restored: np.ndarray, original: np.ndarray, protocol: Protocol) -> float:
    """10 log10(255^2 / mean squared difference), in dB; infinite of equal pictures.

    Args:
      restored: [H, W, C], values of 0 to 255, of any dtype.
      original: like it.
      protocol: what counts of them.

    Raises:
      UserError: they are of different sizes, or nothing is left of them.
    """
    one, other = _both(restored, original, protocol, 1)
    error = float(np.mean((one - other) ** 2))
    return float("inf") if error == 0 else float(10 * np.log10(PEAK**2 / error))


def ssim(restored: np.ndarray, original: np.ndarray, protocol: Protocol) -> float:
    """Structural similarity (Wang et al., 2004), at most 1: Gaussian windows of 11 x 11, sigma 1.5, that lie
    within the picture; the mean over channels.

    Args:
      restored: [H, W, C], values of 0 to 255, of any dtype.
      original: like it.
      protocol: what counts of them.

    Raises:
      UserError: they are of different sizes, or what is left is smaller than a window.
    """
    x, y = _both(restored, original, protocol, _WINDOW)
    mean_x, mean_y = _blurred(x), _blurred(y)
    variance_x, variance_y = _blurred(x * x) - mean_x**2, _blurred(y * y) - mean_y**2
    covariance = _blurred(x * y) - mean_x * mean_y
    first, second = _STABLE
    alike = (2 * mean_x * mean_y + first) * (2 * covariance + second)
    return float(np.mean(alike / ((mean_x**2 + mean_y**2 + first) * (variance_x + variance_y + second))))


def cropped(pixels_HxWxC: np.ndarray, scale: int) -> np.ndarray:
    """To a multiple of the scale, from the top left."""
    height, width = (side - side % scale for side in pixels_HxWxC.shape[:2])
    return pixels_HxWxC[:height, :width]


def smaller(pixels_HxWxC: np.ndarray, scale: int) -> np.ndarray:
    """1 / scale of a picture's size, uint8, bicubic; of one whose sides are multiples of the scale.

    Raises:
      UserError: they are not.
    """
    height, width = pixels_HxWxC.shape[:2]
    if height % scale or width % scale:
        raise UserError(f"a picture of {height} x {width} has no {scale}th: crop it to a multiple of {scale}")
    return resized(pixels_HxWxC, height // scale, width // scale)


def larger(pixels_HxWxC: np.ndarray, scale: int) -> np.ndarray:
    """`scale` times as large, uint8, bicubic: what a model has to beat."""
    height, width = pixels_HxWxC.shape[:2]
    return resized(pixels_HxWxC, height * scale, width * scale)


def noisy(pixels_HxWxC: np.ndarray, sigma: float, seed: int) -> np.ndarray:
    """With Gaussian noise of standard deviation `sigma` (of 255), float32, neither rounded nor clipped."""
    noise = np.random.default_rng([seed, round(1000 * sigma)]).normal(0.0, sigma, pixels_HxWxC.shape)
    return (pixels_HxWxC + noise).astype(np.float32)


def _both(
    restored: np.ndarray, original: np.ndarray, protocol: Protocol, least: int
) -> tuple[np.ndarray, np.ndarray]:
    if restored.shape != original.shape:
        raise UserError(
            f"a restored picture of {' x '.join(map(str, restored.shape))} beside an original of "
            f"{' x '.join(map(str, original.shape))}: they must be of one size"
        )
    pair = protocol.compared(restored), protocol.compared(original)
    if min(pair[0].shape[:2]) < least:
        raise UserError(
            f"a picture of {original.shape[0]} x {original.shape[1]} with {protocol.shave} pixels shaved is "
            f"smaller than {least} x {least}: shave less, or leave it out"
        )
    return pair


def _blurred(x_HxWxC: np.ndarray) -> np.ndarray:
    """Means under a Gaussian window, where it lies within the picture."""
    places = np.arange(_WINDOW) - _WINDOW // 2
    weights = np.exp(-(places**2) / (2 * _SIGMA**2))
    weights /= weights.sum()
    windows = np.lib.stride_tricks.sliding_window_view(x_HxWxC, _WINDOW, axis=0)
    windows = np.lib.stride_tricks.sliding_window_view(windows @ weights, _WINDOW, axis=1)
    return windows @ weights
