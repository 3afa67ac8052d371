"""Pictures come out right way up, in 8 bits, whole, or are refused by name."""

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from data_pipelines.images.decoding import PictureError, decode, encode_png, size_of, traits_of

GRADIENT = np.stack(np.meshgrid(np.arange(40) * 6, np.arange(24) * 10), -1).astype(np.uint8)
COLOURS = np.concatenate([GRADIENT, np.full((24, 40, 1), 77, np.uint8)], -1)


def saved(pixels, kind="PNG", **options) -> bytes:
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    to = io.BytesIO()
    image.save(to, kind, **options)
    return to.getvalue()


def turned(orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return saved(COLOURS, "PNG", exif=exif)


@settings(max_examples=20)
@given(st.integers(1, 30), st.integers(1, 30), st.sampled_from([1, 3]), st.integers(0, 2**32 - 1))
def test_a_png_comes_back(height, width, channels, seed):
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, channels), np.uint8)
    data = encode_png(pixels)
    np.testing.assert_array_equal(decode(data, "RGB" if channels == 3 else "L"), pixels)
    assert size_of(data) == (height, width)


@pytest.mark.parametrize(
    ("orientation", "expected"),
    [
        (1, COLOURS),
        (2, COLOURS[:, ::-1]),
        (3, COLOURS[::-1, ::-1]),
        (4, COLOURS[::-1]),
        (5, COLOURS.transpose(1, 0, 2)),
        (6, np.rot90(COLOURS, -1)),
        (7, COLOURS[::-1, ::-1].transpose(1, 0, 2)),
        (8, np.rot90(COLOURS)),
    ],
)
def test_it_is_turned_as_exif_says(orientation, expected):
    data = turned(orientation)
    np.testing.assert_array_equal(decode(data), expected)
    assert size_of(data) == expected.shape[:2]


def test_sixteen_bits_are_scaled_and_not_clipped():
    deep = (np.arange(256, dtype=np.uint16) * 257).reshape(16, 16)
    np.testing.assert_array_equal(decode(saved(deep), "L")[..., 0], np.arange(256).reshape(16, 16))


def test_what_is_transparent_lies_on_white():
    clear = np.zeros((4, 4, 4), np.uint8)
    clear[:2] = (10, 20, 30, 255)
    found = decode(saved(clear))
    assert (found[:2] == (10, 20, 30)).all() and (found[2:] == 255).all()


def test_a_palette_with_a_transparent_entry():
    image = Image.fromarray(np.array([[0, 1], [1, 0]], np.uint8), "P")
    image.putpalette([200, 0, 0, 0, 200, 0])
    found = decode(saved(image, transparency=1))
    np.testing.assert_array_equal(found, [[[200, 0, 0], [255] * 3], [[255] * 3, [200, 0, 0]]])


@pytest.mark.parametrize(
    ("image", "grey", "transparent"),
    [
        (Image.new("L", (2, 2), 9), True, False),
        (Image.new("1", (2, 2)), True, False),
        (Image.new("RGB", (2, 2), (9, 9, 9)), False, False),
        (Image.new("RGBA", (2, 2), (9, 9, 9, 255)), False, False),
        (Image.new("RGBA", (2, 2), (9, 9, 9, 254)), False, True),
        (Image.new("LA", (2, 2), (9, 0)), True, True),
    ],
)
def test_what_kind_of_picture_it_is(image, grey, transparent):
    assert traits_of(saved(image)) == (grey, transparent)


def test_cmyk_is_three_colours():
    found = decode(saved(Image.fromarray(COLOURS).convert("CMYK"), "JPEG", quality=100, subsampling=0))
    assert found.shape == COLOURS.shape and np.abs(found.astype(int) - COLOURS).mean() < 4


def test_one_bit_and_grey_in_both_modes():
    bits = np.indices((8, 8)).sum(0) % 2 == 0
    for mode, channels in (("L", 1), ("RGB", 3)):
        found = decode(saved(Image.fromarray(bits)), mode)
        assert found.shape == (8, 8, channels)
        np.testing.assert_array_equal(found[..., 0], bits * 255)


def test_a_large_jpeg_is_decoded_smaller_but_never_too_small():
    data = saved(np.tile(COLOURS, (20, 20, 1)), "JPEG")  # 480 x 800
    assert decode(data).shape == (480, 800, 3)
    assert decode(data, at_least=128).shape == (240, 400, 3)
    assert decode(data, at_least=60).shape == (60, 100, 3)
    assert decode(data, at_least=481).shape == (480, 800, 3)


def animated() -> bytes:
    frames = [Image.fromarray(np.full((8, 8), value, np.uint8)) for value in (0, 90, 180)]
    return saved(frames[0], "GIF", save_all=True, append_images=frames[1:])


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty file"),
        (b"<html>404</html>", "no picture of a known format"),
        (saved(np.tile(COLOURS, (9, 9, 1)), "JPEG")[:-900], "truncated"),
        (saved(np.tile(COLOURS, (9, 9, 1)))[:-300], "truncated"),
        (animated(), "animated"),
        (saved(np.zeros((2, 2), np.float32), "TIFF"), "pixels of floating point"),
    ],
)
def test_what_cannot_be_used_is_refused_by_name(data, reason):
    with pytest.raises(PictureError) as raised:
        decode(data)
    assert raised.value.reason == reason and len(str(raised.value)) < 120


def test_the_size_of_a_png_that_ends_too_early_is_refused_by_name():
    """Pillow decodes a PNG when it is asked for its orientation."""
    with pytest.raises(PictureError, match="truncated"):
        size_of(saved(np.tile(COLOURS, (9, 9, 1)))[:-300])


def test_a_picture_beyond_the_bound_is_refused_before_it_is_decoded(monkeypatch):
    data = saved(np.zeros((300, 400), np.uint8))
    monkeypatch.setattr(Image.Image, "load", lambda self: pytest.fail("decoded"))
    for read in (decode, size_of, traits_of):
        with pytest.raises(PictureError, match="too many pixels: 400 x 300, of 100,000"):
            read(data, max_pixels=100_000)


def test_a_still_gif_is_a_picture():
    found = decode(saved(Image.fromarray(COLOURS).quantize(), "GIF"))
    assert found.shape == COLOURS.shape
