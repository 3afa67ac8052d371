"""What is in a file: itself, or the members of an archive, each as a stream and a kind that is known.

The door of every reader: the corpus factory's and training's (`reader`) and knowledge's.
"""

import io
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from data_pipelines.corpus.reading import archives, sniffing
from data_pipelines.corpus.reading.compression import BrokenFileError, decompressed, unreadable
from data_pipelines.corpus.reading.inputs import ARCHIVES, UNNAMED, InputFile
from data_pipelines.corpus.reading.place import Place

_BUFFER = 1 << 18


class Opened(NamedTuple):
    """A file, or a member of an archive, that is to be read before the next is asked for.

    Attributes:
      place: its name, `archive:member` of a member, and where what is wrong goes.
      kind: a value of `inputs.KINDS` that is no archive.
      stream: its bytes, decompressed; what reading raises, `why_not` takes.
    """

    place: Place
    kind: str
    stream: io.BufferedReader


def opened(file: InputFile, place: Place) -> Iterator[Opened]:
    """What is in `file`; what has no suffix and is no text is counted and left out.

    Raises:
      BrokenFileError, OSError: it cannot be opened, or an archive breaks off.
    """
    with _stream(file, place.settings.max_ratio) as stream:
        if file.kind not in ARCHIVES:
            yield from _known(place, file.kind, stream)
            return
        for name, kind, packing, content in archives.members(stream, file.kind, place):
            if packing:
                content = decompressed(content, packing, place.settings.max_ratio)
            member = Place(f"{place.name}:{name}", place.source, place.settings, place.quarantine)
            try:
                yield from _known(member, kind, content)
            except (BrokenFileError, OSError) as error:  # in looking at its beginning
                why_not(error, member)


def why_not(error: BaseException, place: Place) -> None:
    """Puts the rest of a file aside for what reading it raised; raises what is no fault of the file."""
    if isinstance(error, BrokenFileError | tarfile.TarError):
        place.reject("end", str(error))
    elif isinstance(error, OSError):
        place.reject("end", unreadable(error))
    # How libraries in Rust fail on what they did not foresee. It is no subclass of Exception.
    elif type(error).__name__ == "PanicException":
        place.reject("end", f"broken file: {error}".splitlines()[0])
    else:
        raise error


def _known(place: Place, kind: str, stream: io.BufferedReader) -> Iterator[Opened]:
    sniffed = sniffing.kind(stream, place) if kind == UNNAMED else kind
    if sniffed:
        yield Opened(place, sniffed, stream)


def _stream(file: InputFile, max_ratio: float) -> io.BufferedReader:
    # A path on this machine is absolute, and may hold "::"; a URL is not.
    if not Path(file.path).is_absolute():
        import fsspec

        try:
            unbuffered = fsspec.open(file.path, "rb").open()
        except Exception as error:  # every file system has its own
            raise BrokenFileError(f"unreadable file: {error}".splitlines()[0]) from error
    else:
        unbuffered = Path(file.path).open("rb", buffering=0)  # noqa: SIM115 (the caller closes it)
    raw = io.BufferedReader(unbuffered, _BUFFER)
    return decompressed(raw, file.compression, max_ratio) if file.compression else raw
