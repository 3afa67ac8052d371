"""A caption as a source has it."""

from typing import NamedTuple


class Caption(NamedTuple):
    """What is said of pictures.

    Attributes:
      text: as the source has it.
      pictures: names of all pictures that it is right of.
    """

    text: str
    pictures: tuple[str, ...]
