"""Chinese-CLIP's form: `SPLIT_imgs.tsv`, ids and pictures in base64, and `SPLIT_texts.jsonl` that names ids.

    17<TAB>/9j/4AAQ...
    {"text_id": 8428, "text": "高级感托特包斜挎", "image_ids": [17, 2345]}

A text may be right of several pictures. Ids are of their split: 17 of train is another picture than 17 of
valid. Github OFA-Sys/Chinese-CLIP, README.
"""

import base64
import binascii
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from data_pipelines.errors import DataError
from data_pipelines.images.picture import LARGEST, TOO_LARGE, PictureFile
from data_pipelines.pairs.caption import Caption
from data_pipelines.text import json_line

IMAGES, TEXTS = "_imgs.tsv", "_texts.jsonl"
NO_BASE64 = "pictures that are not in base64"
REPEATED = "repeated picture ids"
NO_TEXT = "lines that hold no text"
NO_IDS = "captions that name no picture"
LOST_IDS = "picture ids of captions that no picture has"
_STANDARD = bytes.maketrans(b"-_", b"+/")  # both alphabets are met
_LONGEST_TEXT = 2**20  # bytes of a line


class IdTables:
    """All splits of a folder.

    Args:
      folder: of the files.

    Raises:
      DataError: a split has one of its two files alone.
    """

    def __init__(self, folder: Path):
        self._folder = folder
        self._ids: dict[str, set[str]] = {}
        self.skipped: Counter[str] = Counter()
        found = {
            ending: {file.name.removesuffix(ending) for file in folder.glob(f"*{ending}")}
            for ending in (IMAGES, TEXTS)
        }
        for have, other in ((IMAGES, TEXTS), (TEXTS, IMAGES)):
            for split in sorted(found[have] - found[other]):
                raise DataError(f"pairs.path: {folder} has {split}{have} and no {split}{other}: bring it too")
        self._splits = sorted(found[IMAGES])

    def pictures(self) -> Iterator[PictureFile]:
        """Every picture, named `SPLIT/ID`."""
        for split in self._splits:
            ids = self._ids.setdefault(split, set())
            with (self._folder / f"{split}{IMAGES}").open("rb") as stream:
                for line in self._lines(stream, LARGEST * 4 // 3):
                    key, _, packed = line.partition(b"\t")
                    name = key.decode("utf-8", "replace").strip()
                    if (data := _unpacked(packed)) is None or not name:
                        self.skipped[NO_BASE64] += 1
                    elif name in ids:
                        self.skipped[REPEATED] += 1
                    else:
                        ids.add(name)
                        yield PictureFile(f"{split}/{name}", data, side=split)

    def captions(self) -> Iterator[Caption]:
        """Every caption that names pictures."""
        for split in self._splits:
            with (self._folder / f"{split}{TEXTS}").open("rb") as stream:
                for line in self._lines(stream, _LONGEST_TEXT):
                    if (caption := self._caption(line, split)) is not None:
                        yield caption

    def _caption(self, line: bytes, split: str) -> Caption | None:
        try:
            told = json_line.loads(line.decode("utf-8-sig"))
        except ValueError:  # UnicodeDecodeError is one
            told = None
        if not isinstance(told, dict) or not isinstance(told.get("text"), str):
            self.skipped[NO_TEXT] += 1
            return None
        ids = told.get("image_ids")
        ids = [str(one) for one in ids if isinstance(one, int | str)] if isinstance(ids, list) else []
        if not ids:  # as in a test split that keeps its answers to itself
            self.skipped[NO_IDS] += 1
            return None
        known = [one for one in ids if one in self._ids[split]]
        if len(known) < len(ids):
            self.skipped[LOST_IDS] += len(ids) - len(known)
        return Caption(told["text"], tuple(f"{split}/{one}" for one in known))

    def _lines(self, stream: BinaryIO, longest: int) -> Iterator[bytes]:
        """Lines that are not blank, without their ends; those that are too long are counted."""
        while line := stream.readline(longest):
            if len(line) == longest and not line.endswith(b"\n"):
                self.skipped[TOO_LARGE] += 1
                while (rest := stream.readline(longest)) and not rest.endswith(b"\n"):
                    pass
            elif line := line.strip(b"\r\n"):
                yield line


def _unpacked(packed: bytes) -> bytes | None:
    """Of base64 in either alphabet; None where it is none."""
    try:
        return base64.b64decode(packed.strip().translate(_STANDARD), validate=True)
    except binascii.Error:
        return None
