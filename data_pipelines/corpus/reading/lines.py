"""Blocks of whole lines from a stream of any length, in bounded memory."""

import codecs
import io
from collections.abc import Iterator

from data_pipelines.corpus.reading import encodings
from data_pipelines.corpus.reading.place import Place

BLOCK_BYTES = 4 * 2**20


def blocks(
    stream: io.BufferedReader, place: Place, begin: int = 0, end: int | None = None
) -> Iterator[tuple[int, int, bytes]]:
    """(number of the first line, how many, the lines) for those that begin in bytes [begin, end) of `stream`.

    Lines are in the encoding they are in, but for UTF-16, which comes as UTF-8. A block is about BLOCK_BYTES;
    a longer line than max_document_bytes goes to the quarantine, in pieces. Lines count from 1 at `begin`.

    Raises:
      BrokenFileError, OSError: as the stream does, after the lines before the break.
    """
    head = stream.peek(1 << 16)[: 1 << 16]
    if begin == 0 and encodings.is_binary(head, place.settings.max_bad):
        place.reject(1, "not text: control characters", head)
        return
    if encodings.utf16(head):
        if begin > 0:  # its lines have no end that is found from the middle: the first unit reads it all
            return
        stream = io.BufferedReader(_FromUtf16(stream, place))
        end = None
    first = _line_after(stream, begin) if begin > 0 else 0
    if end is None or first < end:
        yield from _whole_lines(stream, place, None if end is None else end - first)


def _whole_lines(
    stream: io.BufferedReader, place: Place, budget: int | None
) -> Iterator[tuple[int, int, bytes]]:
    """As `blocks`, for the lines that begin in the next `budget` bytes."""
    number, rest, position = 1, b"", 0  # of the line in `rest`, which begins at byte `position`
    while True:
        data, error = read(stream, BLOCK_BYTES)
        held = rest + data
        # The last line of a file needs no end, but one that breaks off is not whole.
        cut = held.rfind(b"\n") + 1 if data or error else len(held)
        if budget is not None and position + cut >= budget:
            # The line that byte budget - 1 is in is the last.
            cut = held.find(b"\n", max(0, budget - position - 1), cut) + 1 or cut
        lines, rest = held[:cut], held[cut:]
        if lines:
            count = lines.count(b"\n") + (not lines.endswith(b"\n"))
            yield number, count, lines if position else lines.removeprefix(codecs.BOM_UTF8)
            number += count
        position += cut
        over = budget is not None and position >= budget
        if not over and error:
            if rest:
                place.reject(number, "broken off: the file ends in this line", rest)
            raise error
        if over or not data:
            return
        if len(rest) > place.settings.max_document_bytes:
            place.too_long(number, rest)
            number, position = number + 1, position + len(rest)
            rest, passed = _rest_after_line(stream)
            position += passed
            if budget is not None and position >= budget:
                return


def read(stream: io.BufferedReader, size: int) -> tuple[bytes, Exception | None]:
    """Up to `size` bytes, and the error that ended them, if one did."""
    pieces = []
    while size > 0:
        try:
            piece = stream.read1(size)
        except Exception as error:  # each kind of file has its own
            return b"".join(pieces), error
        if not piece:
            break
        pieces.append(piece)
        size -= len(piece)
    return b"".join(pieces), None


def _rest_after_line(stream: io.BufferedReader) -> tuple[bytes, int]:
    """Reads to the end of a line: what was read after it, and the bytes before that."""
    passed = 0
    while data := stream.read1(BLOCK_BYTES):
        after = data.find(b"\n") + 1
        if after:
            return data[after:], passed + after
        passed += len(data)
    return b"", passed


def _line_after(stream: io.BufferedReader, begin: int) -> int:
    """Moves to the first line that begins at byte `begin` or after, and returns where that is."""
    stream.seek(begin - 1)
    _, passed = _rest_after_line(stream)
    return stream.seek(begin - 1 + passed)


class _FromUtf16(io.RawIOBase):
    """A stream of UTF-16 with a byte order mark, in UTF-8."""

    def __init__(self, stream: io.BufferedReader, place: Place):
        self._stream, self._place = stream, place
        self._decoder = codecs.getincrementaldecoder("utf-16")("replace")
        self._output = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer) -> int:
        while not self._output:
            data = self._stream.read1(1 << 18)
            text = self._decoder.decode(data, final=not data)
            self._place.note("bad bytes", text.count("�"))
            self._output = memoryview(text.encode("utf-8", "replace"))
            if not data:
                break
        part, self._output = self._output[: len(buffer)], self._output[len(buffer) :]
        buffer[: len(part)] = part
        return len(part)
