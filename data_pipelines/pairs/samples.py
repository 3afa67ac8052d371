"""Pictures with what is said of them beside them: `KEY.jpg` and `KEY.txt`, or `KEY.json` with a caption.

In a folder, or in archives in WebDataset's layout (.tar, also compressed, or .zip; any number of them in a
folder): a key goes up to the first point there, and up to the last one in a folder. Every line of a .txt is a
caption. In an archive, files of one key need not follow one another.
"""

import logging
from collections import Counter
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from data_pipelines.images.picture import LARGEST, TOO_LARGE, BrokenSource, PictureFile
from data_pipelines.images.sources import PictureSource, kind_of
from data_pipelines.images.splitting import told
from data_pipelines.images.web_dataset import key_of
from data_pipelines.pairs import caption_lines
from data_pipelines.pairs.caption import Caption
from data_pipelines.text import json_line

log = logging.getLogger(__name__)

BESIDE = (".txt", ".caption", ".json")
LARGEST_TEXT = 2**20  # bytes of a file of captions
NO_JSON = "files beside pictures that are no JSON"
NO_TEXT = "files beside pictures that are no text"
SEVERAL = "further pictures of a key"


class Samples:
    """Pictures and captions of one key, of a folder or of an archive.

    Args:
      path: of it.
    """

    def __init__(self, path: Path):
        self._path = path
        self._source = PictureSource(str(path))
        self.skipped: Counter[str] = self._source.skipped
        # By archive and key.
        self._pictures: dict[tuple[str, str], str] = {}
        self._captions: dict[tuple[str, str], list[str]] = {}

    def pictures(self) -> Iterator[PictureFile]:
        """Every picture, named as `images` names it."""
        if self._path.is_file():
            yield from self._of_archive(self._path, "", None)
            return
        files = list(self._source.files(self._path))
        split = _is_split(name for _, name in files)
        for path, name in files:
            side = _split_of(name) if split else None
            suffix = path.suffix.lower()
            if kind_of(name) in ("zip", "tar"):
                try:
                    yield from self._of_archive(path, f"{name}:", side)
                except BrokenSource as error:  # one of many: what was read of it stays
                    log.warning("%s", error)
                    self.skipped["rests of broken archives"] += 1
            elif kind_of(name) != "picture" and suffix not in BESIDE:
                self.skipped[suffix or "no suffix"] += 1
            elif path.stat().st_size > LARGEST:
                self.skipped[TOO_LARGE] += 1
            else:
                key = "", name.removesuffix(path.suffix)
                yield from self._member(key, name, suffix, path.read_bytes(), side)

    def captions(self) -> Iterator[Caption]:
        """Every caption, in the order in which they were read."""
        for key, texts in self._captions.items():
            name = self._pictures.get(key)
            for text in texts:
                yield Caption(text, (name,) if name else ())

    def _of_archive(self, path: Path, before: str, side: str | None) -> Iterator[PictureFile]:
        for name, content in self._source.members(path):
            suffix = PurePosixPath(name).suffix.lower()
            yield from self._member((before, key_of(name)), f"{before}{name}", suffix, content, side)

    def _member(
        self, key: tuple[str, str], name: str, suffix: str, content: bytes, side: str | None
    ) -> Iterator[PictureFile]:
        """The picture, if it is one and the first of its key; captions are kept for later."""
        if kind_of(name) == "picture":
            if self._pictures.setdefault(key, name) != name:
                self.skipped[SEVERAL] += 1
            else:
                yield PictureFile(name, content, side=side)
        elif suffix in BESIDE:
            if len(content) > LARGEST_TEXT:
                self.skipped[TOO_LARGE] += 1
                return
            of = self._of_json if suffix == ".json" else self._of_text
            texts = self._captions.setdefault(key, [])
            # A .json often says again what the .txt says.
            texts += [text for text in of(content) if text not in texts]

    def _of_text(self, content: bytes) -> list[str]:
        text = caption_lines.text_of(content, self.skipped)
        if text is None:
            self.skipped[NO_TEXT] += 1
            return []
        return text.splitlines() if text.strip() else [""]

    def _of_json(self, content: bytes) -> list[str]:
        try:
            found = json_line.loads(content.decode("utf-8-sig"))
        except ValueError:  # UnicodeDecodeError is one
            self.skipped[NO_JSON] += 1
            return []
        if not isinstance(found, dict):
            return []
        value = next((found[name] for name in caption_lines.CAPTIONS if found.get(name)), ())
        return [text for text in ([value] if isinstance(value, str) else value) if isinstance(text, str)]


def _split_of(name: str) -> str:
    """The name of a split that a folder or an archive at the top is called by."""
    return name.partition("/")[0].lower().split(".")[0].split("-")[0]


def _is_split(names: Iterator[str]) -> bool:
    """Whether all that holds pictures is called as splits are, one of them `train`."""
    sides = {told(name.partition("/")[0]) for name in names if kind_of(name) in ("picture", "zip", "tar")}
    return sides == {"train", "validation"}
