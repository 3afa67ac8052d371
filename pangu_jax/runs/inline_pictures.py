"""Pictures of a run directory inside a page that needs no other file."""

import base64
from collections.abc import Sequence
from typing import NamedTuple

from pangu_jax.errors import UserError
from pangu_jax.runs.exhibit_files import Picture

ENLARGED_TO = 160  # pixels of the longer side, at most: smaller pictures are enlarged by a whole factor
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
            with Image.open(picture.path, formats=["PNG"]) as image:  # reads the header alone
                width, height = image.size
        except (OSError, Image.DecompressionBombError):
            raise UserError(f"{picture.path} is damaged: no PNG of a usable size; delete it") from None
        factor = max(1, ENLARGED_TO // max(width, height))
        address = f"data:image/png;base64,{base64.b64encode(picture.path.read_bytes()).decode()}"
        shown.append(InlinePicture(picture.title, address, width * factor, height * factor, factor > 1))
    return shown, len(pictures) - len(shown)
