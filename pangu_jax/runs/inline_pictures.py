"""Pictures of a run directory inside a page that needs no other file."""

import base64
import io
from collections.abc import Sequence
from typing import NamedTuple

from pangu_jax.errors import UserError
from pangu_jax.runs.exhibit_files import Picture

WIDE, HIGH = 720, 480  # CSS pixels that a picture is enlarged to, at most, and by a whole factor
LARGEST_FILE, ALL_FILES = 4 * 2**20, 16 * 2**20  # bytes of a picture, and of all, that go into a page


class InlinePicture(NamedTuple):
    """A picture in the page.

    Attributes:
      title: said above it.
      address: the PNG itself, as a data URI.
      width, height: as it is shown, in CSS pixels.
      enlarged: whether it is shown larger than it is, so that its pixels are to be seen.
    """

    title: str
    address: str
    width: int
    height: int
    enlarged: bool


def inline_picture(title: str, png: bytes) -> InlinePicture:
    """A PNG as a page shows it.

    Raises:
      OSError, Image.DecompressionBombError: it is none, or one of no usable size.
    """
    from PIL import Image  # 0.1 s

    with Image.open(io.BytesIO(png), formats=["PNG"]) as image:  # reads the header alone
        width, height = image.size
    factor = max(1, min(WIDE // width, HIGH // height))
    address = f"data:image/png;base64,{base64.b64encode(png).decode()}"
    return InlinePicture(title, address, width * factor, height * factor, factor > 1)


def inline_pictures(pictures: Sequence[Picture]) -> tuple[list[InlinePicture], int]:
    """What a page shows of them, and how many are left out, so that it stays small enough to be opened.

    Raises:
      UserError: one is no PNG.
    """
    from PIL import Image  # 0.1 s

    shown: list[InlinePicture] = []
    free = ALL_FILES
    for picture in pictures:
        size = picture.path.stat().st_size
        if size > min(free, LARGEST_FILE):
            continue
        free -= size
        try:
            shown.append(inline_picture(picture.title, picture.path.read_bytes()))
        except (OSError, Image.DecompressionBombError):
            raise UserError(f"{picture.path} is damaged: no PNG of a usable size; delete it") from None
    return shown, len(pictures) - len(shown)
