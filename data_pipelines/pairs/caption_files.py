"""A folder of pictures and one file that says what is in them: `captions.txt` beside `images/`."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from data_pipelines.errors import DataError
from data_pipelines.images.picture import LARGEST, TOO_LARGE, PictureFile
from data_pipelines.images.sources import PictureSource, kind_of
from data_pipelines.pairs import caption_lines
from data_pipelines.pairs.caption import Caption
from data_pipelines.pairs.names import PictureNames

FOLDERS = ("images", "Images")
NO_CAPTION = "lines that name no picture"
UNCLEAR = "captions of a name that several pictures have"


class CaptionFile:
    """Pictures under `images`, or where that is not there under the folder itself, and a file of captions.

    Args:
      folder: that both lie in.
      captions: name of the file.
    """

    def __init__(self, folder: Path, captions: str):
        self._file = folder / captions
        inside = next((folder / name for name in FOLDERS if (folder / name).is_dir()), None)
        self._apart = inside is not None
        self._source = PictureSource(str(inside or folder))
        self.skipped: Counter[str] = self._source.skipped
        self._names = PictureNames()

    def pictures(self) -> Iterator[PictureFile]:
        """Every picture; DataError where nothing is there."""
        for picture in self._source.pictures() if self._apart else self._beside():
            self._names.add(picture.name)
            yield picture

    def _beside(self) -> Iterator[PictureFile]:
        """Pictures of the folder that the captions lie in too: a table there is no table of pictures."""
        for path, name in self._source.files(self._file.parent):
            if kind_of(name) == "picture":
                if path.stat().st_size > LARGEST:
                    self.skipped[TOO_LARGE] += 1
                else:
                    yield PictureFile(name, path.read_bytes())
            elif path.suffix.lower() not in (".txt", ".csv", ".tsv"):
                self.skipped[path.suffix.lower() or "no suffix"] += 1

    def captions(self) -> Iterator[Caption]:
        """Every caption of a picture that has been read.

        Raises:
          DataError: the file cannot be read.
        """
        try:
            content = caption_lines.text_of(self._file.read_bytes(), self.skipped)
        except OSError as error:
            raise DataError(f"{self._file}: {error.strerror}") from None
        if content is None:
            raise DataError(f"{self._file} is no text in a known encoding: write it in UTF-8")
        try:
            for line in caption_lines.parsed(content):
                if line is None:
                    self.skipped[NO_CAPTION] += 1
                elif len(found := self._names.of(line.name)) > 1:
                    self.skipped[UNCLEAR] += 1
                else:
                    yield Caption(line.text, tuple(found))
        except DataError as error:
            raise DataError(f"{self._file}: {error}") from None
