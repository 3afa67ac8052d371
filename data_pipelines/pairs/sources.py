"""Pictures and captions of whatever holds them: what a source of pairs gives, and which one reads a path.

- `drawn:shapes`: drawn here (`shapes`).
"""

import dataclasses
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple, Protocol

from data_pipelines.errors import DataError
from data_pipelines.images.picture import PictureFile
from data_pipelines.pairs import shapes


class Caption(NamedTuple):
    """What is said of pictures.

    Attributes:
      text: as the source has it.
      pictures: names of all pictures that it is right of.
    """

    text: str
    pictures: tuple[str, ...]


class PairSource(Protocol):
    """Pictures, and then captions.

    Attributes:
      skipped: what was passed over, by reason; filled as pictures and captions are read.
    """

    skipped: Counter[str]

    def pictures(self) -> Iterator[PictureFile]:
        """Every picture; its `side` is the name of its split, None where the source is not split."""
        ...

    def captions(self) -> Iterator[Caption]:
        """Every caption; to be asked for when all pictures are read: some sources hold them together."""
        ...


@dataclasses.dataclass
class DrawnPairs:
    """Those of `shapes`."""

    skipped: Counter[str] = dataclasses.field(default_factory=Counter)
    _captions: list[Caption] = dataclasses.field(default_factory=list)

    def pictures(self) -> Iterator[PictureFile]:
        """Every picture, drawn."""
        for drawn in shapes.pairs():
            self._captions += [Caption(text, (drawn.picture.name,)) for text in drawn.captions]
            yield drawn.picture

    def captions(self) -> Iterator[Caption]:
        """Two of each picture."""
        yield from self._captions


def opened(path: str, captions: str) -> PairSource:
    """The source that reads a path.

    Raises:
      DataError: there is nothing at the path that holds pairs.
    """
    del captions
    if path == shapes.NAME:
        return DrawnPairs()
    raise DataError(f"pairs.path: there is no {path}")
