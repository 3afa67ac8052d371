"""Messages of a GRIB file one by one: counted, split where several fields share one, refused if cut short."""

import contextlib
import os
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from data_pipelines.errors import DataError

END = b"7777"
LARGE = 0x800000  # of GRIB 1: the length counts 120 octets then


class MessagePlace(NamedTuple):
    """Where a message is: its offset and length in bytes, and which of its fields is meant."""

    offset: int
    length: int
    field: int


def places(path: Path) -> Iterator[MessagePlace]:
    """Of every field of a file, in order.

    Raises:
      DataError: a message is cut short or damaged, or there is none.
    """
    size, at, count = path.stat().st_size, 0, 0
    with path.open("rb") as file:
        while (at := _next(file, at, size)) < size:
            length, edition = _length(file, at)
            file.seek(at + length - 4)
            if at + length > size or file.read(4) != END:
                raise DataError(
                    f"{path}: message {count + 1} (at byte {at}) is cut short or damaged; whole ones before "
                    f"it: {count}. Get the file again"
                )
            fields = 1
            if edition == 2:
                file.seek(at)
                fields = len(_fields(file.read(length), path))
            for field in range(fields):
                yield MessagePlace(at, length, field)
            count, at = count + 1, at + length
    if not count:
        raise DataError(f"{path}: there is no GRIB message in it")


def _next(file: Any, at: int, size: int) -> int:
    """The next b"GRIB" from `at` on: between messages some archives write headers of their own."""
    file.seek(at)
    kept = b""
    while block := file.read(65536):
        found = (kept + block).find(b"GRIB")
        if found >= 0:
            return at + found - len(kept)
        kept, at = block[-3:], at + len(block)
    return size


def _length(file: Any, at: int) -> tuple[int, int]:
    file.seek(at)
    head = file.read(16)
    edition = head[7] if len(head) > 7 else 0
    if edition == 2 and len(head) == 16:
        return int.from_bytes(head[8:16], "big"), 2
    length = int.from_bytes(head[4:7], "big")
    if length & LARGE:
        # ECMWF's way to say lengths of 8 MB and more in 24 bits.
        file.seek(at + 8)
        first = int.from_bytes(file.read(3), "big")
        file.seek(at + 8 + 7)
        flags = file.read(1)[0]
        position = at + 8 + first
        for flag in (0x80, 0x40):
            if flags & flag:
                file.seek(position)
                position += int.from_bytes(file.read(3), "big")
        file.seek(position)
        data = int.from_bytes(file.read(3), "big")
        if data < 120:
            return (length & (LARGE - 1)) * 120 - data + 4, 1
    return max(length, 8), 1


def _fields(message: bytes, path: Path) -> list[bytes]:
    """Messages of one field each: in GRIB 2 sections 2 to 7 may come again, what does not is as before."""
    sections: dict[int, bytes] = {}
    found, at = [], 16
    while message[at : at + 4] != END:
        length, number = int.from_bytes(message[at : at + 4], "big"), message[at + 4]
        if length < 5 or at + length > len(message):
            raise DataError(f"{path}: the sections of a message do not fit its length: get the file again")
        sections[number] = message[at : at + length]
        at += length
        if number == 7:
            found.append(dict(sections))
    if len(found) == 1:
        return [message]
    return [_whole(message[:16], parts) for parts in found]


def _whole(head: bytes, sections: dict[int, bytes]) -> bytes:
    body = b"".join(sections[number] for number in sorted(sections)) + END
    return head[:8] + (16 + len(body)).to_bytes(8, "big") + body


@contextlib.contextmanager
def handle(path: Path, place: MessagePlace) -> Generator[Any]:
    """ecCodes' handle of a field's message.

    Raises:
      DataError: ecCodes does not understand it.
    """
    import eccodes

    with path.open("rb") as file:
        message = os.pread(file.fileno(), place.length, place.offset)
    if message[7] == 2:
        message = _fields(message, path)[place.field]
    try:
        opened = eccodes.codes_new_from_message(message)
    except eccodes.CodesInternalError as error:
        raise DataError(f"{path}: the message at byte {place.offset} is not understood ({error})") from None
    try:
        yield opened
    finally:
        eccodes.codes_release(opened)


def key(message: Any, name: str, kind: type = str) -> Any:
    """Of a message; "" or 0 where it has none."""
    import eccodes

    try:
        return eccodes.codes_get(message, name, kind)
    except eccodes.CodesInternalError:
        return kind()


def values(message: Any) -> np.ndarray:
    """float64 [points], NaN where its bitmap says so, each row in the direction of the first."""
    import eccodes

    if key(message, "bitmapPresent", int):
        eccodes.codes_set(message, "missingValue", 1e36)
    found = eccodes.codes_get_values(message)
    if key(message, "bitmapPresent", int):
        found[found == 1e36] = np.nan
    if key(message, "alternativeRowScanning", int):
        # ecCodes 2.50 gives the values as they run, to and fro, and coordinates as if all ran one way.
        columns = key(message, "Ni", int)
        rows = found.reshape(-1, columns).copy()
        rows[1::2] = rows[1::2, ::-1]
        found = rows.ravel()
    return found
