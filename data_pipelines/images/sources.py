"""Pictures one after the other, of whatever holds them: a folder, an archive, a table, a TFDS dataset.

Nothing is registered and nothing is decoded here. Every source tells of each picture its bytes, a name that
no other has, and what it knows of its label and group:

- a folder: class folders (the first level is the label) or none; archives and tables in it are read as well;
- .zip and .tar (plain or compressed): as a folder; or in WebDataset's layout, `KEY.jpg` beside `KEY.cls` or
  `KEY.json`;
- Parquet as the hubs write it: a column of bytes, or of {bytes, path}, beside `label`;
- .csv and .tsv with a column of paths, which lie under the table's own folder;
- `tfds:NAME`: a dataset that TFDS has prepared;
- `package:NAME`: pictures inside of Python packages (`packaged`).

Where all that a folder or a .zip holds lies in `train`, `val`, `test` (folders, archives or tables of these
names), it is split already. One class called `train` among others is a class.
"""

import dataclasses
import logging
import tarfile
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

from data_pipelines.corpus.reading.archives import name_of
from data_pipelines.corpus.reading.inputs import printable
from data_pipelines.errors import DataError
from data_pipelines.images import packaged, picture_tables
from data_pipelines.images.decoding import SUFFIXES
from data_pipelines.images.picture import LARGEST, TOO_LARGE, BrokenSource, Fields, PictureFile
from data_pipelines.images.splitting import told
from data_pipelines.images.web_dataset import joined

log = logging.getLogger(__name__)

TABLES = (".parquet", ".csv", ".tsv")
TARS = (".tar", ".tar.gz", ".tgz", ".tar.xz", ".txz", ".tar.bz2")
# Beside a picture in WebDataset's layout.
ASIDE = (".cls", ".json", ".txt", ".caption", ".index")
USUAL = Fields()
# What the readers of archives raise; RuntimeError where a password is asked for.
BROKEN = (zipfile.BadZipFile, zlib.error, tarfile.TarError, EOFError, NotImplementedError, RuntimeError)


@dataclasses.dataclass
class PictureSource:
    """What is to be read, and what was passed over meanwhile.

    Attributes:
      path: a folder, a file, `tfds:NAME` or `package:NAME`.
      fields: the columns of tables.
      skipped: by reason, filled as pictures are read: files of other kinds, links, what is too large.
    """

    path: str
    fields: Fields = USUAL
    skipped: Counter[str] = dataclasses.field(default_factory=Counter)

    def pictures(self) -> Iterator[PictureFile]:
        """Every picture, in an order that is always the same.

        Raises:
          DataError: there is no such file, it is of no kind that holds pictures, or it breaks off.
        """
        if self.path.startswith("tfds:"):
            yield from picture_tables.of_tfds(self.path.removeprefix("tfds:"), self.fields)
            return
        if self.path.startswith(packaged.PREFIX):
            yield from packaged.pictures(self.path.removeprefix(packaged.PREFIX))
            return
        path = Path(self.path)
        if path.is_dir():
            yield from self._of_folder(path)
        elif not path.is_file():
            raise DataError(f"images.path: there is no {path}")
        elif kind_of(path.name) == "picture":
            yield PictureFile(path.name, path.read_bytes())
        elif kind_of(path.name) is None:
            raise DataError(
                f"images.path: {path} is no picture, archive or table that is known; give a folder of "
                f"pictures, .zip, .tar, {', '.join(TABLES)}, tfds:NAME or package:NAME"
            )
        else:
            yield from self._of_file(path, "", None)

    def files(self, folder: Path) -> Iterator[tuple[Path, str]]:
        """Every file under a folder that is no program's own, and its name there; links out are counted."""
        for path in sorted(folder.rglob("*")):
            name = path.relative_to(folder)
            if _hidden(name) or path.is_dir():
                continue
            if path.resolve().is_relative_to(folder.resolve()):
                yield path, _as_text(name.as_posix())
            else:
                self.skipped["links that lead out of the folder"] += 1

    def members(self, path: Path) -> Iterator[tuple[str, bytes]]:
        """(name, content) of the pictures of an archive, and of what may lie beside them; others are counted.

        Raises:
          BrokenSource: it is no archive, or breaks off.
        """
        try:
            yield from self._of_zip(path) if kind_of(path.name) == "zip" else self._of_tar(path)
        except BROKEN as error:
            raise BrokenSource(_broken(path, error)) from None

    def _of_folder(self, folder: Path) -> Iterator[PictureFile]:
        # A folder that holds all its pictures in folders has classes; a picture at the top says otherwise.
        files = list(self.files(folder))
        plain = any("/" not in name and kind_of(name) == "picture" for _, name in files)
        split = _is_split(name for _, name in files)
        for path, name in files:
            if kind_of(name) == "picture":
                if path.stat().st_size > LARGEST:
                    self.skipped[TOO_LARGE] += 1
                    continue
                label = None if plain else _class_of(name, split)
                yield PictureFile(name, path.read_bytes(), label, side=_side_of(name, split))
            elif kind_of(name) is None:
                self.skipped[f"{path.suffix.lower() or 'no suffix'}"] += 1
            else:
                try:
                    yield from self._of_file(path, f"{name}:", _side_of(name, split))
                except BrokenSource as error:  # one of many: what was read of it stays
                    log.warning("%s", error)
                    self.skipped["rests of broken archives and tables"] += 1

    def _of_file(self, path: Path, before: str, side: str | None) -> Iterator[PictureFile]:
        """The pictures of an archive or table, all of a side; `before` is the beginning of their names."""
        kind = kind_of(path.name)
        try:
            if kind == "table":
                found = picture_tables.of_file(path, before, self.fields, self.skipped)
            elif kind == "zip":
                with zipfile.ZipFile(path) as archive:
                    split = not side and _is_split(map(name_of, archive.infolist()))
                found = self._split(joined(self._of_zip(path), before, self.skipped), before, split)
            else:
                found = joined(self._of_tar(path), before, self.skipped)
            for picture in found:
                yield picture._replace(side=side) if side else picture
        except BROKEN as error:
            raise BrokenSource(_broken(path, error)) from None

    @staticmethod
    def _split(pictures: Iterator[PictureFile], before: str, split: bool) -> Iterator[PictureFile]:
        for picture in pictures:
            name = picture.name.removeprefix(before)
            own = split and picture.label == name.partition("/")[0]  # of a folder, not of a file beside it
            label = _class_of(name, split) if own else picture.label
            yield picture._replace(label=label, side=_side_of(name, split))

    def _of_zip(self, path: Path) -> Iterator[tuple[str, bytes]]:
        with zipfile.ZipFile(path) as archive:
            for name, member in sorted((name_of(member), member) for member in archive.infolist()):
                if member.is_dir() or not self._wanted(name, member.file_size):
                    continue
                with archive.open(member) as content:  # not more than was said, whatever it unpacks to
                    yield name, content.read(member.file_size + 1)

    def _of_tar(self, path: Path) -> Iterator[tuple[str, bytes]]:
        with tarfile.open(path) as archive:
            for member in archive:
                if member.isdir():
                    continue
                if not member.isfile():
                    self.skipped["links and devices in archives"] += 1
                    continue
                name = _as_text(member.name)
                if self._wanted(name, member.size) and (content := archive.extractfile(member)):
                    yield name, content.read()

    def _wanted(self, name: str, size: int) -> bool:
        path = PurePosixPath(name)
        if _hidden(path):
            return False
        if size > LARGEST:
            self.skipped[TOO_LARGE] += 1
            return False
        if kind_of(name) == "picture" or path.suffix.lower() in ASIDE:
            return True
        self.skipped[path.suffix.lower() or "no suffix"] += 1
        return False


def _as_text(name: str) -> str:
    """A file's name; the bytes of one that is not UTF-8 are taken for GBK, which Chinese Windows writes."""
    try:
        return name.encode().decode()
    except UnicodeEncodeError:
        pass
    try:
        return name.encode("utf-8", "surrogateescape").decode("gb18030")
    except UnicodeError:
        return printable(name)


def _broken(path: Path, error: Exception) -> str:
    return f"{path} is broken, or no archive: {' '.join(str(error).split())[:80]}; bring it anew"


def kind_of(name: str) -> str | None:
    """ "picture", "table", "zip", "tar", or None for a file that holds no pictures."""
    lowered = name.lower()
    for suffixes, kind in ((SUFFIXES, "picture"), (TABLES, "table"), ((".zip",), "zip"), (TARS, "tar")):
        if lowered.endswith(tuple(suffixes)):
            return kind
    return None


def _hidden(path: Path | PurePosixPath) -> bool:
    """Programs' own files: .DS_Store, ._photo.jpg, __MACOSX/."""
    return any(part.startswith(".") or part == "__MACOSX" for part in path.parts)


def _class_of(name: str, split: bool) -> str | None:
    """The first folder of a picture's name, or the second where the first is a side."""
    folder, _, rest = (name.partition("/")[2] if split else name).partition("/")
    return folder if rest else None


def _side_of(name: str, split: bool) -> str | None:
    return told(name.partition("/")[0]) if split else None


def _is_split(names: Iterable[str]) -> bool:
    """Whether all that holds pictures lies in folders and files that are called as sides are, one `train`."""
    tops = {name.partition("/")[0] for name in names if kind_of(name) and not _hidden(PurePosixPath(name))}
    return {told(top) for top in tops} == {"train", "validation"}
