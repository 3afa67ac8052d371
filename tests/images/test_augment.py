"""Augmentations: sizes, types, that a draw is the generator's alone, and what each does to known pixels."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from data_pipelines.errors import DataError
from data_pipelines.images import augment
from data_pipelines.images.augment import (
    CenterCrop,
    ColorJitter,
    Flip,
    Grey,
    RandomCrop,
    RandomResizedCrop,
    Resize,
    TrivialAugment,
    Turn,
)
from data_pipelines.images.trivial_augment import COLOURS, PLACES

ALL = [
    Resize(16),
    Resize(16, square=True),
    CenterCrop(16),
    RandomCrop(16, padding=4),
    RandomResizedCrop(16),
    Flip(),
    Turn(),
    ColorJitter(),
    Grey(0.5),
    TrivialAugment(),
]
PICTURES = st.builds(
    lambda height, width, channels, seed: np.random.default_rng(seed).integers(
        0, 256, (height, width, channels), np.uint8
    ),
    st.integers(12, 50), st.integers(12, 50), st.sampled_from([1, 3]), st.integers(0, 99),
)  # fmt: skip


@settings(max_examples=40)
@given(PICTURES, st.sampled_from(ALL), st.integers(0, 2**32 - 1))
def test_a_step_is_a_function_of_picture_and_key(pixels, step, key):
    before = pixels.copy()
    first, again = (step(pixels, np.random.default_rng(key)) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    np.testing.assert_array_equal(pixels, before)
    assert first.dtype == np.uint8 and first.shape[2] == pixels.shape[2]
    if isinstance(step, CenterCrop | RandomCrop | RandomResizedCrop) or getattr(step, "square", False):
        assert first.shape[:2] == (16, 16)
    if isinstance(step, Resize):
        assert min(first.shape[:2]) == 16


@settings(max_examples=60)
@given(st.integers(1, 300), st.integers(1, 300), st.integers(0, 2**32 - 1))
def test_a_part_lies_in_the_picture_and_is_as_large_as_asked(height, width, key):
    step = RandomResizedCrop(8, least_area=0.3)
    top, left, rows, columns = step.box(height, width, np.random.default_rng(key))
    assert 0 <= top <= top + rows <= height and 0 <= left <= left + columns <= width
    assert rows and columns
    if min(height, width) >= 40 and max(height, width) <= 2 * min(height, width):
        assert rows * columns >= 0.27 * height * width


def test_parts_are_of_every_size_and_place():
    step, draws = RandomResizedCrop(8, least_area=0.1), np.random.default_rng(0)
    boxes = np.array([step.box(120, 120, draws) for _ in range(4000)])  # a square prefers no shape
    shares = boxes[:, 2] * boxes[:, 3] / 120**2
    assert 0.09 < shares.min() < 0.12 and shares.max() > 0.85 and 0.4 < shares.mean() < 0.6
    ratios = np.log(boxes[:, 3] / boxes[:, 2])
    assert abs(ratios.mean()) < 0.03 and ratios.max() < np.log(4 / 3) + 0.1


def test_a_flip_is_a_mirror():
    pixels = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    np.testing.assert_array_equal(Flip(1.0)(pixels, np.random.default_rng(0)), pixels[:, ::-1])
    count = sum(Flip(0.3)(pixels, np.random.default_rng(i))[0, 0, 0] != 0 for i in range(2000))
    assert 500 < count < 700


def test_a_turn_is_one_of_four():
    pixels = np.arange(9, dtype=np.uint8).reshape(3, 3, 1)
    made = [Turn()(pixels, np.random.default_rng(key)).tobytes() for key in range(400)]
    for quarters in range(4):
        assert 70 < made.count(np.rot90(pixels, quarters).tobytes()) < 130


class Fixed:
    """A generator that draws what it is told."""

    def __init__(self, *values):
        self.values = np.array(values)

    def random(self, count=None):
        return self.values if count else self.values[0]


def plain_jitter(pixels, bright, contrast, saturation):
    """Step by step, in double precision."""
    x = pixels * float(bright)
    luma = lambda x: x @ augment.LUMA.astype(float)  # noqa: E731
    x = luma(x).mean() * (1 - contrast) + x * contrast
    x = luma(x)[..., None] * (1 - saturation) + x * saturation
    return np.clip(np.rint(x), 0, 255)


@settings(max_examples=30)
@given(*(st.floats(0, 1, exclude_max=True) for _ in range(3)), st.integers(0, 99))
def test_jitter_is_brightness_then_contrast_then_saturation(a, b, c, seed):
    pixels = np.random.default_rng(seed).integers(60, 140, (7, 9, 3), np.uint8)
    found = ColorJitter(0.4, 0.3, 0.2)(pixels, Fixed(0.0, a, b, c))
    factors = (1 + x * (2 * y - 1) for x, y in zip((0.4, 0.3, 0.2), (a, b, c), strict=True))
    assert np.abs(found - plain_jitter(pixels, *factors)).max() <= 1  # of rounding
    assert ColorJitter(probability=0.5)(pixels, Fixed(0.5, a, b, c)) is pixels


def test_grey_is_luma_in_all_channels():
    pixels = np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255], [9, 9, 9]]], np.uint8)
    found = Grey(1.0)(pixels, np.random.default_rng(0))
    np.testing.assert_array_equal(found[0, :, 0], [76, 150, 29, 9])
    assert (found == found[..., :1]).all()


def test_too_small_for_a_crop_is_said():
    with pytest.raises(DataError, match=r"RandomCrop.size 32: a picture of 8 x 40 is smaller; put @Resize"):
        RandomCrop(32)(np.zeros((8, 40, 3), np.uint8), np.random.default_rng(0))
    with pytest.raises(DataError, match="least_area 0 must be in"):
        RandomResizedCrop(least_area=0)


@pytest.mark.parametrize("strength", [-1.0, 0.0, 1.0])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", [*COLOURS, *PLACES])
def test_every_change_of_trivial_augment(name, channels, strength):
    pixels = np.random.default_rng(3).integers(60, 200, (20, 30, channels), np.uint8)
    image = Image.fromarray(pixels[..., 0] if channels == 1 else pixels)
    made = np.asarray((COLOURS | PLACES)[name](image, strength))
    assert made.shape == (20, 30) if channels == 1 else (20, 30, 3)
    same = np.array_equal(made, np.asarray(image))
    always = {"autocontrast", "equalize"}  # of no strength
    idle = {"identity"} | ({"color"} if channels == 1 else set())
    assert same == (name in idle or (strength == 0 and name not in always))


def test_trivial_augment_without_moves_leaves_things_where_they_are():
    pixels = np.full((16, 16, 3), 120, np.uint8)
    pixels[4:7, 9:12] = 250
    for draw in range(60):
        made = TrivialAugment(moves=False)(pixels, np.random.default_rng(draw))
        rows, columns = np.nonzero((made != made[0, 0]).any(-1))
        assert set(rows) <= set(range(3, 8))  # sharpness reaches a pixel further
        assert set(columns) <= set(range(8, 13))
    moved = [TrivialAugment()(pixels, np.random.default_rng(draw)) for draw in range(60)]
    assert any((picture == 0).all(-1).any() for picture in moved)  # black from outside
