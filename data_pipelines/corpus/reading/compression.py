"""Opening compressed files as streams: gzip, xz, zstandard and bzip2, by one loop.

The loop does what the readers of the standard library do, and three things more: it distinguishes a file that
breaks off from one that ends (zstandard's own reader does not), bounds the memory of a step, and stops at a
bomb.
"""

import bz2
import errno
import io
import lzma
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

SUFFIXES = (".gz", ".xz", ".zst", ".bz2")
MAX_RATIO = 200.0
_UNSUSPECTED = 64 * 2**20  # bytes of output before the ratio is looked at
_FEED = 1 << 16
# A block of zstandard makes up to 2**17 bytes of 4, and its decompressor takes no limit: it is fed little.
_FEED_ZST = 1 << 11
_XZ_MEMORY = 512 * 2**20
# The machine's trouble, not the file's.
_FATAL = (errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE, errno.ENOMEM)


class BrokenFileError(Exception):
    """A file that cannot be read on: its text is the reason, for the quarantine."""


def unreadable(error: OSError) -> str:
    """The reason for the quarantine. Raises `error` when the machine is at fault: no room, no handles."""
    if error.errno in _FATAL:
        raise error
    return f"unreadable file: {error.strerror or error}"


def open_file(path: Path, max_ratio: float = MAX_RATIO) -> BinaryIO:
    """The bytes of a file, decompressed when its suffix says so.

    Reading raises BrokenFileError where the compressed data breaks off, where it is not what the suffix says,
    and when it has grown to more than `max_ratio` times its size and 64 MiB.
    """
    raw = path.open("rb")
    return decompressed(raw, path.suffix.lower(), max_ratio) if path.suffix.lower() in SUFFIXES else raw


def decompressed(raw: BinaryIO, suffix: str, max_ratio: float = MAX_RATIO) -> io.BufferedReader:
    """`raw` decompressed; closing the one closes the other. Errors as in `open_file`."""
    return io.BufferedReader(_Decompressed(raw, suffix, max_ratio), 1 << 18)


def seekable(stream: BinaryIO) -> bool:
    """Whether a stream can be read from its end."""
    try:
        return stream.seekable()
    except AttributeError:  # what a member of an archive answers
        return False


def check_ratio(made: int, taken: int, max_ratio: float) -> None:
    """BrokenFileError when `made` bytes are more than may come from `taken`."""
    if made > max(_UNSUSPECTED, max_ratio * taken):
        raise BrokenFileError(f"zip bomb: {made} bytes from {taken}, more than {max_ratio:g} to 1")


class _Decompressed(io.RawIOBase):
    def __init__(self, raw: BinaryIO, suffix: str, max_ratio: float):
        self._raw, self._suffix, self._max_ratio = raw, suffix, max_ratio
        self._start = _starter(suffix)
        self._stream: Any = None  # the decompressor of the current member (frame, stream) of the file
        self._input = b""
        self._output = memoryview(b"")  # made and not yet asked for
        self._taken = self._made = 0

    def readable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._made - len(self._output)

    def close(self) -> None:
        self._raw.close()
        super().close()

    def readinto(self, buffer) -> int:
        while not self._output:
            if self._stream is None and not self._begin():
                return 0
            self._output = memoryview(self._step(len(buffer)))
            self._made += len(self._output)
            check_ratio(self._made, self._taken, self._max_ratio)
            if self._stream.eof:
                self._stream = None
        part, self._output = self._output[: len(buffer)], self._output[len(buffer) :]
        buffer[: len(part)] = part
        return len(part)

    def _begin(self) -> bool:
        """Starts the next member; False at the end. Zero bytes pad tapes and blocks between members."""
        while True:
            self._input = self._input.lstrip(b"\0") if self._made else self._input
            if self._input:
                self._stream = self._start()
                return True
            if not self._fill():
                return False

    def _fill(self) -> bool:
        self._input = self._raw.read(_FEED)
        self._taken += len(self._input)
        return bool(self._input)

    def _step(self, most: int) -> bytes:
        hungry = getattr(self._stream, "needs_input", True)
        if hungry and not self._input and not self._fill():
            raise BrokenFileError("broken compressed file: it ends before its data does")
        try:
            if self._suffix == ".gz":
                made = self._stream.decompress(self._input, most)
                self._input = self._stream.unconsumed_tail
            elif self._suffix == ".zst":
                made = self._stream.decompress(self._input[:_FEED_ZST])
                self._input = self._input[_FEED_ZST:]
            else:  # these two keep what they did not get to
                made = self._stream.decompress(self._input if hungry else b"", most)
                self._input = b""
        except Exception as error:  # each library has its own, and bz2 raises OSError
            raise BrokenFileError(f"broken compressed file: {error}") from error
        if self._stream.eof:
            rest = self._input if self._suffix == ".zst" else b""  # zlib's tail is in its unused data too
            self._input = self._stream.unused_data + rest
        return made


def _starter(suffix: str) -> Callable[[], Any]:
    match suffix:
        case ".gz":
            return lambda: zlib.decompressobj(zlib.MAX_WBITS | 16)
        case ".xz":
            return lambda: lzma.LZMADecompressor(memlimit=_XZ_MEMORY)
        case ".bz2":
            return bz2.BZ2Decompressor
        case ".zst":
            import zstandard

            return zstandard.ZstdDecompressor().decompressobj
    raise ValueError(suffix)
