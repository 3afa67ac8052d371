"""A picture's bytes as pixels: right way up, in one mode, whole, or refused for a reason that has a name.

Pillow decides what a file is by its bytes, among the formats named here. What it does without a word is put
right: it turns no picture by its EXIF orientation, clips 16-bit grey at 255 instead of scaling it, and drops
what is transparent onto whatever colour lies beneath.
"""

import contextlib
import io
from collections.abc import Generator
from typing import Literal, NamedTuple

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

Mode = Literal["RGB", "L"]
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF", "PPM")
# The suffixes that files of them have.
SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".webp", ".bmp", ".dib", ".tif", ".tiff", ".gif"),
    *(".ppm", ".pgm", ".pbm", ".pnm"),
)
MAX_PIXELS = 64 * 2**20
ORIENTATION = 0x0112
_DEEP = ("I;16", "I;16L", "I;16B", "I;16N")


class PictureError(Exception):
    """Bytes that are no picture which can be used.

    Attributes:
      reason: one of few, to be counted by: "truncated", "animated", "too many pixels", "no picture", ...
    """

    def __init__(self, reason: str, detail: str = ""):
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason


class Traits(NamedTuple):
    """What kind of picture it is.

    Attributes:
      grey: it has no colours by its mode: no palette, no RGB.
      transparent: it has pixels that are not wholly there.
    """

    grey: bool
    transparent: bool


def size_of(data: bytes, max_pixels: int = MAX_PIXELS) -> tuple[int, int]:
    """Height and width as the picture is seen, from its header alone.

    Raises:
      PictureError: as `decode`, as far as a header tells.
    """
    with _opened(data, max_pixels) as image:
        turned = _orientation(image) >= 5
        return (image.width, image.height) if turned else (image.height, image.width)


def traits_of(data: bytes, max_pixels: int = MAX_PIXELS) -> Traits:
    """Whether a picture is grey, and whether it is transparent in places, which `decode` lays on white.

    Raises:
      PictureError: as `decode`.
    """
    with _opened(data, max_pixels) as image:
        grey = image.mode in ("1", "L", "LA", "La", "I", *_DEEP)
        if not _may_be_transparent(image):
            return Traits(grey, False)
        _load(image)
        alpha = np.asarray(image.convert("RGBA").getchannel("A"))
    return Traits(grey, bool(alpha.min(initial=255) < 255))


def decode(data: bytes, mode: Mode = "RGB", at_least: int = 0, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """The pixels, uint8 [H, W, 3], or [H, W, 1] of mode "L" (luma of ITU-R 601).

    Turned as EXIF says; 16 bits scaled to 8; transparent pixels on white; CMYK and palettes by Pillow's
    conversion, without colour profiles.

    Args:
      mode: three colours or grey.
      at_least: a JPEG may come out at 1/2, 1/4 or 1/8 of its size, if its shorter side stays as long as this:
        decoding then takes a fraction of the time. 0 decodes it whole.
      max_pixels: a picture with more is refused before it is decoded.

    Raises:
      PictureError: it is no picture, ends too early, moves, or has too many pixels.
    """
    with _opened(data, max_pixels) as image:
        if at_least and image.format in ("JPEG", "MPO"):
            scale = at_least / min(image.size)
            if scale < 1:
                image.draft(mode, (round(image.width * scale), round(image.height * scale)))
        _load(image)
        if _orientation(image) != 1:  # it would else be copied for nothing
            image = ImageOps.exif_transpose(image)
        pixels = np.asarray(_in_mode(image, mode))
    return pixels[..., None] if pixels.ndim == 2 else pixels


def encode_png(pixels: np.ndarray) -> bytes:
    """uint8 [H, W, 3] or [H, W, 1] as a PNG, without loss."""
    to = io.BytesIO()
    Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).save(to, "PNG")
    return to.getvalue()


@contextlib.contextmanager
def _opened(data: bytes, max_pixels: int) -> Generator[Image.Image]:
    """The picture behind its header, within bounds."""
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
    except UnidentifiedImageError:
        raise PictureError("empty file" if not data else "no picture of a known format") from None
    except Image.DecompressionBombError:
        raise PictureError("too many pixels", f"more than {max_pixels:,}") from None
    except (OSError, SyntaxError, ValueError) as error:
        raise PictureError("damaged", str(error)[:60]) from None
    with image:
        if image.width * image.height > max_pixels:
            raise PictureError("too many pixels", f"{image.width} x {image.height}, of {max_pixels:,}")
        # An MPO is a photo with smaller copies of itself behind it; others with a second frame move.
        if image.format != "MPO" and getattr(image, "n_frames", 1) > 1:
            raise PictureError("animated", f"{getattr(image, 'n_frames', 1)} frames")
        yield image


def _orientation(image: Image.Image) -> int:
    with _whole():  # of a PNG, Pillow looks for it behind the pixels too, and decodes them for it
        return image.getexif().get(ORIENTATION, 1)


def _load(image: Image.Image) -> None:
    with _whole():
        image.load()


@contextlib.contextmanager
def _whole() -> Generator[None]:
    """What Pillow raises for bytes that end too early or are damaged, as a reason."""
    try:
        yield
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        truncated = "truncated" in str(error) or isinstance(error, EOFError)
        raise PictureError("truncated" if truncated else "damaged", str(error)[:60]) from None


def _may_be_transparent(image: Image.Image) -> bool:
    return image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info


def _in_mode(image: Image.Image, mode: Mode) -> Image.Image:
    if image.mode in _DEEP or image.mode == "I":
        deep = np.asarray(image).astype(np.int64)
        if deep.min(initial=0) < 0 or deep.max(initial=0) > 65535:
            raise PictureError("more than 16 bits per pixel")
        image = Image.fromarray(((deep * 255 + 32767) // 65535).astype(np.uint8))
    elif image.mode == "F":
        raise PictureError("pixels of floating point")
    if _may_be_transparent(image):
        above = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", above.size, "white"), above)
    return image if image.mode == mode else image.convert(mode)
