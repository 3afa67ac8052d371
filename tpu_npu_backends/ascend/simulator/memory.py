"""Memories of a core and of the device, and views into them.

Every byte has a tag beside it: 0 while nothing has written it, else a number for the allocation through which
it was last written. A read checks the tags of its bytes, so it finds what was never written and what another
allocation has written over.
"""

from bisect import bisect_left, bisect_right
from itertools import pairwise

import numpy as np

from tpu_npu_backends.ascend.simulator.faults import Fault

# Bytes on one core of an Ascend 910B1 (dlti.target_system_spec of the compiler's output gives them in bits).
SIZES = {"ub": 196608, "cbuf": 524288, "ca": 65536, "cb": 65536, "cc": 131072}

TAGS = 255  # tags are bytes: allocations whose numbers differ by a multiple of 254 are not distinguished


def tag(allocation: int) -> int:
    return 1 + allocation % (TAGS - 1)


class Access:
    """One instruction's read or write of a view: the `number`-th instruction of a pipe."""

    __slots__ = ("number", "pipe", "view", "where", "writes")

    def __init__(self, pipe: int, number: int, view: "View", writes: bool, where: str) -> None:
        self.pipe, self.number, self.view, self.writes, self.where = pipe, number, view, writes, where


class Accesses:
    """Accesses to a memory by their first bytes, so that those near a place are found quickly."""

    __slots__ = ("_firsts", "_longest", "records")

    def __init__(self) -> None:
        self.records: list[Access] = []
        self._firsts: list[int] = []
        self._longest = 0

    def between(self, first: int, last: int) -> tuple[int, int]:
        """The range of records that may touch bytes first to last."""
        return bisect_left(self._firsts, first - self._longest), bisect_left(self._firsts, last)

    def add(self, access: Access) -> None:
        at = bisect_right(self._firsts, access.view.first)
        self._firsts.insert(at, access.view.first)
        self.records.insert(at, access)
        self._longest = max(self._longest, access.view.last - access.view.first)

    def remove(self, at: int) -> None:
        del self.records[at], self._firsts[at]


class Memory:
    """Bytes, their tags, and the accesses to them.

    Attributes:
      name: for messages, such as `ub` or `argument 2`.
      data: [bytes] uint8.
      tags: [bytes] uint8; none of a memory that is not checked.
      checked: False for inputs, which the host has written.
      accesses: those that later ones may still have to be ordered after.
    """

    __slots__ = ("accesses", "checked", "data", "name", "tags")

    def __init__(self, name: str, data: np.ndarray, checked: bool = True) -> None:
        self.name, self.data, self.checked = name, data, checked
        self.tags = np.zeros(data.size if checked else 0, np.uint8)
        self.accesses = Accesses()


class View:
    """Strided elements of a memory: where an instruction reads or writes.

    Attributes:
      memory: the memory.
      start: of the first element, in bytes (in bits for packed i1).
      shape, strides: in elements.
      dtype: of an element; bool and packed for i1 on the chip.
      limits: first byte and the one past the last of the allocation.
      owner: the allocation's tag.
      first, last: the first byte and the one past the last that the view touches.
    """

    __slots__ = (
        "_array", "_contiguous", "_key", "_tags", "dtype", "first", "last", "limits", "memory", "owner",
        "packed", "shape", "size", "start", "strides",
    )  # fmt: skip

    def __init__(
        self,
        memory: Memory,
        start: int,
        shape: tuple[int, ...],
        strides: tuple[int, ...],
        dtype: np.dtype,
        limits: tuple[int, int],
        owner: int,
        packed: bool,
        where: str,
    ) -> None:
        self.memory, self.start, self.shape, self.strides = memory, start, shape, strides
        self.dtype, self.limits, self.owner, self.packed = dtype, limits, owner, packed
        size, reach, back = 1, 0, 0
        for length, stride in zip(shape, strides, strict=True):
            size *= length
            if stride >= 0:
                reach += (length - 1) * stride
            else:
                back += (length - 1) * stride
        self.size = size
        if packed:
            self.first, self.last = (start + back) // 8, (start + reach) // 8 + 1
        else:
            self.first, self.last = start + back * dtype.itemsize, start + (reach + 1) * dtype.itemsize
        if size and (self.first < limits[0] or self.last > limits[1]):
            raise Fault(
                "out of bounds",
                f"a view of {list(shape)} {dtype} covers bytes {self.first} to {self.last} of {memory.name}, "
                f"its buffer has {limits[0]} to {limits[1]}",
                where,
            )
        self._array: np.ndarray | None = None
        self._tags: np.ndarray | None = None
        self._key: tuple | None = None
        self._contiguous: bool | None = None

    @property
    def contiguous(self) -> bool:
        if self._contiguous is None:
            self._contiguous = self._is_contiguous()
        return self._contiguous

    def _is_contiguous(self) -> bool:
        expected = 1
        for length, stride in zip(reversed(self.shape), reversed(self.strides), strict=True):
            if length != 1 and stride != expected:
                return False
            expected *= length
        return True

    @property
    def nbytes(self) -> int:
        """Of its elements, without what lies between them."""
        return -(-self.size // 8) if self.packed else self.size * self.dtype.itemsize

    @property
    def array(self) -> np.ndarray:
        """The elements in place, of a view that is not packed."""
        if self._array is None:
            self._array = self._elements(self.memory.data, self.dtype)
        return self._array

    @property
    def tags(self) -> np.ndarray:
        """The tags of each element's bytes, as one unsigned integer per element (packed: a byte)."""
        if self._tags is None:
            if self.packed:
                self._tags = self.memory.tags[self.first : self.last]
            else:
                self._tags = self._elements(self.memory.tags, np.dtype(f"u{self.dtype.itemsize}"))
        return self._tags

    @property
    def key(self) -> tuple:
        """Equal for views of the same bytes."""
        if self._key is None:
            self._key = (self.start, self.shape, self.strides, self.dtype.itemsize, self.packed)
        return self._key

    def _elements(self, buffer: np.ndarray, dtype: np.dtype) -> np.ndarray:
        width = dtype.itemsize
        return np.ndarray(
            self.shape, dtype, buffer, self.start, tuple(stride * width for stride in self.strides)
        )

    def with_layout(
        self,
        start: int,
        shape: tuple[int, ...],
        strides: tuple[int, ...],
        where: str,
        dtype: np.dtype | None = None,
        packed: bool | None = None,
    ) -> "View":
        """Another view of the same allocation."""
        return View(
            self.memory, start, shape, strides, dtype or self.dtype, self.limits, self.owner,
            self.packed if packed is None else packed, where,
        )  # fmt: skip

    def read(self) -> np.ndarray:
        """The values; 16-bit floats as float32, so that a result is rounded once, when it is written."""
        if self.packed:
            return self._bits()
        array = self.array
        return array.astype(np.float32) if array.dtype.itemsize == 2 and array.dtype.kind in "fV" else array

    def write(self, values) -> None:
        if self.packed:
            self._set_bits(values)
        else:
            self.array[...] = values

    # Packed i1: element i of a row is bit i % 8 of byte i // 8.

    def _bit_positions(self) -> np.ndarray:
        """[shape] of each element's bit, from the view's first byte."""
        positions = np.full((), self.start - 8 * self.first)
        for length, stride in zip(self.shape, self.strides, strict=True):
            positions = positions[..., None] + np.arange(length) * stride
        return positions

    def _bits(self) -> np.ndarray:
        bits = np.unpackbits(self.memory.data[self.first : self.last], bitorder="little").view(np.bool_)
        offset = self.start - 8 * self.first
        if self.contiguous:
            return bits[offset : offset + self.size].reshape(self.shape)
        return bits[self._bit_positions()]

    def _set_bits(self, values) -> None:
        bits = np.unpackbits(self.memory.data[self.first : self.last], bitorder="little")
        bits[self._bit_positions()] = values
        self.memory.data[self.first : self.last] = np.packbits(bits, bitorder="little")

    def overlaps(self, other: "View") -> bool:
        """Whether they share a byte, exactly."""
        if self.last <= other.first or other.last <= self.first:
            return False
        if self.packed or other.packed:
            return True
        return np.shares_memory(self.array, other.array)

    def check_written(self, where: str) -> None:
        """Fault("unwritten") or Fault("overlap") unless this allocation has written every byte."""
        if not self.memory.checked or not self.size:
            return
        expected = _REPEATED[1 if self.packed else self.dtype.itemsize] * self.owner
        tags = self.tags
        if self.packed and not self.contiguous:
            tags = tags[np.unique(self._bit_positions() // 8)]
        if (tags == expected).all():
            return
        found = np.unique(np.ascontiguousarray(tags).view(np.uint8))
        if 0 in found:
            raise Fault("unwritten", f"reads {self._place()}, parts of which nothing has written", where)
        raise Fault("overlap", f"reads {self._place()}, which another allocation has written over", where)

    def mark_written(self, owner: int | None = None) -> None:
        if not self.memory.checked or not self.size:
            return
        owner = self.owner if owner is None else owner
        if self.packed and not self.contiguous:
            self.tags[np.unique(self._bit_positions() // 8)] = owner
        else:
            self.tags[...] = _REPEATED[1 if self.packed else self.dtype.itemsize] * owner

    def _place(self) -> str:
        return f"bytes {self.first} to {self.last} of {self.memory.name}"


_REPEATED = {1: 0x01, 2: 0x0101, 4: 0x01010101, 8: 0x0101010101010101}


def row_major(shape) -> tuple[int, ...]:
    """Strides in elements."""
    strides, step = [], 1
    for length in reversed(shape):
        strides.append(step)
        step *= length
    return tuple(reversed(strides))


def collapse(shape, strides, groups, where) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Shape and strides with each group of adjacent dimensions made one."""
    new_shape, new_strides = [], []
    for group in groups:
        length = 1
        for dimension in group:
            length *= shape[dimension]
        long = [(shape[d], strides[d]) for d in group if shape[d] != 1]
        for (_, outer), (inner_length, inner) in pairwise(long):
            if outer != inner * inner_length:
                raise Fault("unsupported", f"collapses {list(shape)} with strides {list(strides)}", where)
        new_shape.append(length)
        new_strides.append(long[-1][1] if long else strides[group[-1]])
    return tuple(new_shape), tuple(new_strides)


def expand(strides, shape, groups) -> tuple[int, ...]:
    """Strides with each dimension made a group of `shape`."""
    new = [0] * len(shape)
    for group, stride in zip(groups, strides, strict=True):
        for dimension in reversed(group):
            new[dimension] = stride
            stride *= shape[dimension]
    return tuple(new)
