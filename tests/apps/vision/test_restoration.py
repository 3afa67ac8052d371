"""PSNR and SSIM are those of the papers: bicubic's rows to .02 dB, noise of a known size, plain formulas."""

import math
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_pipelines.images.decoding import decode
from data_pipelines.images.sources import PictureSource
from pangu_jax.apps.vision import restoration
from pangu_jax.apps.vision.restoration import Protocol
from pangu_jax.errors import UserError

DATA = Path(os.environ.get("PANGU_DATA_DIR") or Path(__file__).parents[3] / "../shared/data")
SETS = DATA / "vision" / "restoration"
real = pytest.mark.skipif(not SETS.is_dir(), reason=f"there is no {SETS}")


def pictures(name: str) -> list[np.ndarray]:
    found = PictureSource(str(SETS / f"{name}.parquet")).pictures()
    return [decode(picture.data, "L" if name.endswith("gray") else "RGB") for picture in found]


def bicubic(name: str, scale: int, measure) -> float:
    """The mean over a set, of pictures made smaller and larger again."""
    protocol = Protocol("y", shave=scale)
    originals = [restoration.cropped(pixels, scale) for pixels in pictures(name)]
    restored = [restoration.larger(restoration.smaller(pixels, scale), scale) for pixels in originals]
    return float(np.mean([measure(*pair, protocol) for pair in zip(restored, originals, strict=True)]))


@real
@pytest.mark.parametrize(
    ("name", "scale", "expected"),
    [
        ("set5", 2, 33.67),
        ("set5", 3, 30.40),
        ("set5", 4, 28.43),
        ("set14", 2, 30.32),
        ("set14", 3, 27.63),
        ("set14", 4, 26.09),
    ],
)
def test_bicubic_is_as_measured_elsewhere(name, scale, expected):
    assert abs(bicubic(name, scale, restoration.psnr) - expected) <= 0.02


@real
def test_the_similarity_of_bicubic_is_as_published():
    """Set5 x2 .9299, x4 .8104 (Dong et al., arXiv 1501.00092; Lim et al., arXiv 1707.02921)."""
    assert abs(bicubic("set5", 2, restoration.ssim) - 0.9299) < 0.002
    assert abs(bicubic("set5", 4, restoration.ssim) - 0.8104) < 0.003


@real
def test_another_channel_is_another_figure():
    originals = [restoration.cropped(pixels, 2) for pixels in pictures("set5")]
    restored = [restoration.larger(restoration.smaller(pixels, 2), 2) for pixels in originals]
    found = [restoration.psnr(*pair, Protocol("rgb", 2)) for pair in zip(restored, originals, strict=True)]
    assert abs(np.mean(found) - 31.79) <= 0.02


@pytest.mark.parametrize(("sigma", "expected"), [(15, 24.61), (25, 20.17), (50, 14.15)])
def test_noise_is_neither_rounded_nor_clipped(sigma, expected):
    original = np.random.default_rng(1).integers(0, 256, (1000, 1000, 1), np.uint8)
    noisy = restoration.noisy(original, sigma, seed=0)
    assert abs(restoration.psnr(noisy, original, Protocol()) - expected) < 0.02
    assert noisy.min() < 0 and noisy.max() > 255
    np.testing.assert_array_equal(noisy, restoration.noisy(original, sigma, seed=0))
    assert not np.array_equal(noisy, restoration.noisy(original, sigma, seed=1))


@settings(max_examples=30)
@given(st.integers(12, 30), st.integers(12, 30), st.integers(0, 3), st.integers(0, 99))
def test_psnr_is_its_formula(height, width, shave, seed):
    random = np.random.default_rng(seed)
    one, other = (random.integers(0, 256, (height, width, 3), np.uint8) for _ in range(2))
    total, count = 0.0, 0
    for row in range(shave, height - shave):
        for column in range(shave, width - shave):
            red, green, blue = (one[row, column].astype(float) - other[row, column]).tolist()
            total += (0.256789 * red + 0.504129 * green + 0.097906 * blue) ** 2
            count += 1
    expected = 10 * math.log10(255**2 / (total / count))
    assert restoration.psnr(one, other, Protocol("y", shave)) == pytest.approx(expected, abs=1e-3)


def plain_ssim(x, y):
    """Window by window."""
    places = np.arange(11) - 5
    weights = np.exp(-(places[:, None] ** 2 + places[None] ** 2) / 4.5)
    weights /= weights.sum()
    found = []
    for top in range(x.shape[0] - 10):
        for left in range(x.shape[1] - 10):
            a, b = x[top : top + 11, left : left + 11], y[top : top + 11, left : left + 11]
            p, q = (weights * a).sum(), (weights * b).sum()
            covariance = (weights * (a - p) * (b - q)).sum()
            spread = (weights * (a - p) ** 2).sum() + (weights * (b - q) ** 2).sum()
            found.append(
                (2 * p * q + 6.5025) * (2 * covariance + 58.5225)
                / ((p * p + q * q + 6.5025) * (spread + 58.5225))
            )  # fmt: skip
    return np.mean(found)


def test_ssim_is_its_formula():
    random = np.random.default_rng(0)
    one = random.integers(0, 256, (17, 15, 1)).astype(float)
    other = np.clip(one + random.normal(0, 30, one.shape), 0, 255)
    expected = plain_ssim(one[..., 0], other[..., 0])
    assert restoration.ssim(one, other, Protocol()) == pytest.approx(expected, abs=1e-9)
    assert restoration.ssim(one, one, Protocol()) == pytest.approx(1.0)
    assert restoration.psnr(one, one, Protocol()) == math.inf


def test_luma_is_from_16_to_235():
    found = restoration.luma(np.array([[[0, 0, 0], [255, 255, 255]]]))
    np.testing.assert_allclose(found[0, :, 0], [16, 235])


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda x: restoration.psnr(x, x[1:], Protocol()), "20 x 20 x 3 beside an original of 19 x 20 x 3"),
        (lambda x: restoration.ssim(x, x, Protocol("y", 5)), "with 5 pixels shaved is smaller than 11 x 11"),
        (lambda x: restoration.psnr(x, x, Protocol("y", 10)), "is smaller than 1 x 1"),
        (lambda x: restoration.smaller(x, 3), "20 x 20 has no 3th: crop it"),
    ],
)
def test_what_cannot_be_compared_is_said(call, words):
    with pytest.raises(UserError, match=words):
        call(np.zeros((20, 20, 3), np.uint8))


def test_what_a_figure_stands_for_is_named():
    assert str(Protocol("y", 2)) == "luma of BT.601, 16 to 235, 2 pixels shaved"
    assert str(Protocol("rgb")) == "RGB, 0 pixels shaved"
