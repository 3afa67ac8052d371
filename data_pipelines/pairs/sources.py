"""Pairs of whatever holds them: what a source gives, and which one reads a path.

- `drawn:shapes`: drawn here (`shapes`);
- a folder with `captions.txt`, or a file that is named, beside its pictures (`caption_files`);
- a folder with `SPLIT_imgs.tsv` and `SPLIT_texts.jsonl` (`id_tables`);
- an archive in WebDataset's layout, a folder of such, or of pictures with a .txt each (`samples`).
"""

import dataclasses
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from data_pipelines.errors import DataError
from data_pipelines.images.picture import PictureFile
from data_pipelines.images.sources import kind_of
from data_pipelines.pairs import id_tables, shapes
from data_pipelines.pairs.caption import Caption
from data_pipelines.pairs.caption_files import CaptionFile
from data_pipelines.pairs.id_tables import IdTables
from data_pipelines.pairs.samples import Samples

CAPTIONS = "captions.txt"


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


def opened(path: str, captions: str = CAPTIONS) -> PairSource:
    """The source that reads a path.

    Args:
      path: of a folder or a file, or `drawn:shapes`.
      captions: name of the file of captions in a folder.

    Raises:
      DataError: there is nothing at the path that holds pairs.
    """
    if path == shapes.NAME:
        return DrawnPairs()
    top = Path(path)
    if top.is_file() and kind_of(top.name) in ("zip", "tar"):
        return Samples(top)
    if not top.is_dir():
        what = "is no folder or archive" if top.exists() else "is not there"
        raise DataError(
            f"pairs.path: {path} {what}: give a folder of {CAPTIONS} and images/, of SPLIT{id_tables.IMAGES} "
            f"and SPLIT{id_tables.TEXTS}, of .tar in WebDataset's layout or of pictures with a .txt each; or "
            f"{shapes.NAME}"
        )
    if (top / captions).is_file():
        return CaptionFile(top, captions)
    others = sorted(file.name for file in top.glob("captions*.txt"))
    if captions != CAPTIONS or others:
        known = f": it has {', '.join(others)}; choose by --gin.pairs.captions=FILE" if others else ""
        raise DataError(f"pairs.captions: there is no {captions} in {path}{known}")
    if any(top.glob(f"*{id_tables.IMAGES}")) or any(top.glob(f"*{id_tables.TEXTS}")):
        return IdTables(top)
    return Samples(top)
