"""What a run shows to people, by kind: the report draws kinds, and knows no family."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pangu_jax.errors import UserError


@dataclass(frozen=True)
class Text:
    """A text that the model wrote.

    Attributes:
      task: of which held-out task.
      prompt: what it was given.
      output: what it wrote, each time the likeliest.
      reference: what the data have there; empty where there is none.
      drawn: what it wrote when its tokens were drawn; empty where they were not.
    """

    task: str
    prompt: str
    output: str
    reference: str = ""
    drawn: str = ""


@dataclass(frozen=True)
class Image:
    """A picture, such as a reconstruction beside its original.

    Attributes:
      title: said above it.
      pixels_HxWxC: uint8, one channel (grey) or three (RGB).

    Raises:
      UserError: the pixels are something else.
    """

    title: str
    pixels_HxWxC: np.ndarray

    def __post_init__(self) -> None:
        pixels = self.pixels_HxWxC
        if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] not in (1, 3) or not pixels.size:
            raise UserError(
                f"picture {self.title!r}: its pixels are {pixels.dtype} {list(pixels.shape)}; give uint8 "
                "[height, width, channels] with 1 or 3 channels"
            )


@dataclass(frozen=True)
class Table:
    """Rows under headings; numbers with a fraction are shown to four digits.

    Attributes:
      title: said above it.
      headings: of the columns, with their units.
      rows: cells each; None is one without a value.

    Raises:
      UserError: a row has another number of cells than there are headings.
    """

    title: str
    headings: Sequence[str]
    rows: Sequence[Sequence[str | float | int | None]]

    def __post_init__(self) -> None:
        for number, row in enumerate(self.rows, start=1):
            if len(row) != len(self.headings):
                raise UserError(
                    f"table {self.title!r}: row {number} has {len(row)} cells and there are "
                    f"{len(self.headings)} headings"
                )


Exhibit = Text | Image | Table
