"""A checkpoint of MindSpore, read as data and without MindSpore: messages of protobuf, mapped into memory.

The schema (mindspore/ccsrc/utils/checkpoint.proto): a file is a row of Value = 1 {tag = 1; tensor = 2 {dims
= 1; tensor_type = 2; tensor_content = 3}}. A large tensor is cut: values of one tag are its parts, in order.
"""

import math
import mmap
from collections.abc import Generator, Iterable
from pathlib import Path
from typing import NamedTuple, Self

import ml_dtypes
import numpy as np

from pangu_jax.errors import UserError

TYPES = {"Float32": "F32", "Float16": "F16", "BFloat16": "BF16"}
READ = {"F32": np.dtype("<f4"), "F16": np.dtype("<f2"), "BF16": np.dtype(ml_dtypes.bfloat16)}
NUMBER, BYTES = 0, 2  # protobuf's kinds of fields that the schema has
LONGEST_NUMBER = 10  # bytes


class StoredPart(NamedTuple):
    """Where a tensor, or a part of it, lies.

    Attributes:
      shape: of the whole tensor.
      type: as MindSpore names it.
      begin: first byte of its content.
      end: behind the last.
    """

    shape: tuple[int, ...]
    type: str
    begin: int
    end: int


class MindSporeFile:
    """Tensors of a file, by name.

    Raises:
      UserError: it is damaged, encrypted or no such file, or holds a table that is no tensor.
    """

    def __init__(self, file: Path):
        self._file = file
        try:
            with file.open("rb") as opened:
                self._map = mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ)
        except (OSError, ValueError) as error:
            raise UserError(f"cannot read {file}: {error}; copy it again") from None
        self._tensors: dict[str, list[StoredPart]] = {}
        try:
            for field, value in self._fields(0, len(self._map)):
                name, part = self._value(self._message(field == 1, value))
                self._tensors.setdefault(name, []).append(part)
            for name, parts in self._tensors.items():
                self._check(name, parts)
        except BaseException:
            self._map.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self._map.close()

    def keys(self) -> Iterable[str]:
        """Names of the tensors."""
        return self._tensors.keys()

    def dtype(self, name: str) -> str:
        """As safetensors names it, or MindSpore's own name."""
        type_ = self._tensors[name][0].type
        return TYPES.get(type_, type_)

    def shape(self, name: str) -> tuple[int, ...]:
        """Of the tensor."""
        return self._tensors[name][0].shape

    def get_tensor(self, name: str) -> np.ndarray:
        """The tensor, joined of its parts."""
        content = b"".join(self._map[part.begin : part.end] for part in self._tensors[name])
        return np.frombuffer(content, READ[self.dtype(name)]).reshape(self.shape(name))

    def _value(self, at: slice) -> tuple[str, StoredPart]:
        name, part = None, None
        for field, value in self._fields(at.start, at.stop):
            if field == 1:
                name = self._text(value)
            elif field == 2:
                part = self._tensor(self._message(True, value))
            else:
                raise UserError(
                    f"{self._file}: {name} is no tensor but a table; it is no model's weight here"
                )
        if name is None or part is None:
            raise self._damaged()
        return name, part

    def _tensor(self, at: slice) -> StoredPart:
        dims, type_, content = [], "", slice(0, 0)
        for field, value in self._fields(at.start, at.stop):
            if field == 1:
                packed = isinstance(value, slice)
                dims += self._numbers(value.start, value.stop) if packed else [value]
            elif field == 2:
                type_ = self._text(value)
            elif field == 3:
                content = self._message(True, value)
            else:
                raise self._damaged()
        return StoredPart(tuple(dims), type_, content.start, content.stop)

    def _check(self, name: str, parts: list[StoredPart]) -> None:
        """UserError where parts differ, or their bytes are not those of the shape."""
        first, type_ = parts[0], TYPES.get(parts[0].type)
        if any((part.shape, part.type) != (first.shape, first.type) for part in parts):
            raise self._damaged(f"{name[:60]} has parts of two shapes")
        if type_ and math.prod(first.shape) * READ[type_].itemsize != sum(p.end - p.begin for p in parts):
            if first.shape != (0,):  # so a single number is written
                raise self._damaged(f"{name[:60]} has other bytes than its shape")
            self._tensors[name] = [part._replace(shape=()) for part in parts]

    def _fields(self, at: int, end: int) -> Generator[tuple[int, int | slice]]:
        """Number and value of each field of a message; of bytes, where they lie."""
        while at < end:
            key, at = self._number(at, end)
            if key & 7 == NUMBER:
                value, at = self._number(at, end)
                yield key >> 3, value
            elif key & 7 == BYTES:
                size, at = self._number(at, end)
                if at + size > end:
                    raise self._damaged()
                yield key >> 3, slice(at, at + size)
                at += size
            else:
                raise self._damaged()

    def _number(self, at: int, end: int) -> tuple[int, int]:
        found = 0
        for place in range(LONGEST_NUMBER):
            if at + place >= end:
                break
            byte = self._map[at + place]
            found |= (byte & 127) << (7 * place)
            if byte < 128:
                return found, at + place + 1
        raise self._damaged()

    def _numbers(self, at: int, end: int) -> Generator[int]:
        while at < end:
            found, at = self._number(at, end)
            yield found

    def _message(self, wanted: bool, value: int | slice) -> slice:
        if not wanted or not isinstance(value, slice):
            raise self._damaged()
        return value

    def _text(self, value: int | slice) -> str:
        try:
            return self._map[self._message(True, value)].decode()
        except UnicodeDecodeError:
            raise self._damaged() from None

    def _damaged(self, how: str = "its messages do not fit together") -> UserError:
        return UserError(
            f"{self._file} is damaged, encrypted or no checkpoint of MindSpore ({how}); copy it again, or "
            "export it to .npy where MindSpore is"
        )
