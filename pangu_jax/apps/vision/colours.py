"""Colours as luma and two differences from it, as JPEG has them (ITU-R BT.601, full range), in fp32."""

import numpy as np

_TO = np.array(
    [[0.299, 0.587, 0.114], [-0.168735892, -0.331264108, 0.5], [0.5, -0.418687589, -0.081312411]], np.float32
)
_FROM = np.linalg.inv(_TO.astype(np.float64)).astype(np.float32)


def split(pixels_HxWx3: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Luma [H, W, 1], 0 to 255, and its two differences [H, W, 2], about 0, of R, G, B of 0 to 255."""
    found = np.asarray(pixels_HxWx3, np.float32) @ _TO.T
    return found[..., :1], found[..., 1:]


def joined(luma_HxWx1: np.ndarray, differences_HxWx2: np.ndarray) -> np.ndarray:
    """The inverse of `split`; what no screen can show is not cut off."""
    return np.concatenate([luma_HxWx1, differences_HxWx2], axis=-1) @ _FROM.T
