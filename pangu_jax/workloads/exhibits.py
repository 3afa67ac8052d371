"""What a run shows to people, by kind: the report draws kinds, and knows no family."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Text:
    """A text that the model wrote.

    Attributes:
      task: of which held-out task.
      prompt: what it was given.
      output: what it wrote.
      reference: what stands there in the data; empty where there is none.
    """

    task: str
    prompt: str
    output: str
    reference: str = ""


@dataclass(frozen=True)
class Image:
    """A picture, such as a reconstruction beside its original.

    Attributes:
      title: said above it.
      pixels_HxWxC: uint8, one channel (grey) or three (RGB).
    """

    title: str
    pixels_HxWxC: np.ndarray


@dataclass(frozen=True)
class Table:
    """Rows under headings; numbers are shown to four digits.

    Attributes:
      title: said above it.
      headings: of the columns, with their units.
      rows: cells each.
    """

    title: str
    headings: Sequence[str]
    rows: Sequence[Sequence[str | float | int]]


Exhibit = Text | Image | Table
