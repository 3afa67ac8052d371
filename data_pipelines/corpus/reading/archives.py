"""Archives, member by member as they come. Nothing is written anywhere, so their names do no harm."""

import io
import lzma
import shutil
import stat
import tarfile
import tempfile
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator
from typing import IO

from data_pipelines.corpus.reading.compression import BrokenFileError, check_ratio, seekable
from data_pipelines.corpus.reading.inputs import ARCHIVES, kind_of, printable
from data_pipelines.corpus.reading.place import Place

Member = tuple[str, str, str, io.BufferedReader]


def members(stream: io.BufferedReader, kind: str, place: Place) -> Iterator[Member]:
    """(name, kind, compression, content) of every file of a known kind but archives.

    A content must be read before the next member is asked for.

    Names are distinct: `#2` follows that of a second member of one name.

    Raises:
      BrokenFileError: the archive breaks off, or is none.
    """
    return _of_zip(stream, place) if kind == "zip" else _of_tar(stream, place)


def _of_tar(stream: io.BufferedReader, place: Place) -> Iterator[Member]:
    names: Counter[str] = Counter()
    try:
        with tarfile.open(fileobj=stream, mode="r|") as archive:
            for member in archive:
                # It would else hold every header.
                archive.members = []  # pyrefly: ignore[missing-attribute]  typeshed leaves it out
                if member.isdir():
                    continue
                regular = member.isfile() and not member.issparse()
                if found := _wanted(member.name, regular, names, place):
                    content = archive.extractfile(member)
                    assert isinstance(content, io.BufferedReader)  # as of every member that is a file
                    yield *found, content
    except (tarfile.TarError, EOFError) as error:
        raise BrokenFileError(f"broken archive: {error}") from error


def _of_zip(stream: io.BufferedReader, place: Place) -> Iterator[Member]:
    names: Counter[str] = Counter()
    with tempfile.TemporaryFile() as spool:
        source: IO[bytes] = stream
        if not seekable(stream):  # a zip archive is read from its end
            shutil.copyfileobj(stream, spool)
            source = spool
        try:
            with zipfile.ZipFile(source) as archive:
                for member in archive.infolist():
                    if member.is_dir():
                        continue
                    mode = stat.S_IFMT(member.external_attr >> 16)
                    if found := _wanted(name_of(member), mode in (0, stat.S_IFREG), names, place):
                        content = _MemberStream(archive, member, place.settings.max_ratio)
                        yield *found, io.BufferedReader(content, 1 << 18)
        except (zipfile.BadZipFile, EOFError, ValueError, NotImplementedError) as error:
            raise BrokenFileError(f"broken archive: {error}") from error


def _wanted(member: str, regular: bool, names: Counter[str], place: Place) -> tuple[str, str, str] | None:
    """(distinct name, kind, compression) of a member that is to be read; others are counted."""
    name, known = printable(member), kind_of(member)
    if not regular:
        place.note("links and devices in archives", 1)
        return None
    if known is None or known[1] in ARCHIVES:
        place.note("members of archives of no known kind", 1)
        return None
    names[name] += 1
    return f"{name}#{names[name]}" if names[name] > 1 else name, known[1], known[2]


def name_of(member: zipfile.ZipInfo) -> str:
    """Its name: zipfile takes one that is not marked as UTF-8 for cp437, and Chinese Windows writes GBK."""
    if member.flag_bits & 0x800 or member.filename.isascii():
        return member.filename
    try:
        raw = member.filename.encode("cp437")
    except UnicodeEncodeError:
        return member.filename
    for encoding in ("utf-8", "gb18030"):
        try:
            return raw.decode(encoding)
        except UnicodeDecodeError:
            continue
    return member.filename


class _MemberStream(io.RawIOBase):
    """A member of a zip archive; opened when it is read, so that one that cannot be costs itself alone."""

    def __init__(self, archive: zipfile.ZipFile, member: zipfile.ZipInfo, max_ratio: float):
        self._archive, self._member, self._max_ratio = archive, member, max_ratio
        self._content: IO[bytes] | None = None
        self._made = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer) -> int:
        try:
            if self._content is None:
                self._content = self._archive.open(self._member)
            data = self._content.read(len(buffer))
        except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError) as error:
            raise BrokenFileError(f"broken archive: {error}") from error
        except RuntimeError as error:  # a password is needed, or a packing that nobody knows
            raise BrokenFileError(f"unreadable member: {error}") from error
        self._made += len(data)
        check_ratio(self._made, self._member.compress_size, self._max_ratio)
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        if self._content is not None:
            self._content.close()
        super().close()
