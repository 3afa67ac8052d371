"""Many short texts in one array of bytes: a list of strings would take ten times as much memory."""

from collections.abc import Iterable, Iterator, Sequence
from typing import overload

import numpy as np


class CaptionTexts(Sequence[str]):
    """CaptionTexts by their numbers.

    Args:
      bytes_B: UTF-8 of all of them, uint8.
      start_N: where each begins in it, int64.
      end_N: behind its last byte, int64.
    """

    def __init__(self, bytes_B: np.ndarray, start_N: np.ndarray, end_N: np.ndarray):
        self.bytes_B, self.start_N, self.end_N = bytes_B, start_N, end_N

    def __len__(self) -> int:
        return len(self.start_N)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> "CaptionTexts": ...
    def __getitem__(self, index: int | slice) -> "str | CaptionTexts":
        if isinstance(index, slice):
            return self.chosen(np.arange(len(self))[index])
        return self.bytes_B[self.start_N[index] : self.end_N[index]].tobytes().decode()

    def __iter__(self) -> Iterator[str]:
        return (self[number] for number in range(len(self)))

    def chosen(self, numbers: np.ndarray) -> "CaptionTexts":
        """Some of them, numbered anew; no byte is copied."""
        return CaptionTexts(self.bytes_B, self.start_N[numbers], self.end_N[numbers])


def made(texts: Iterable[str]) -> CaptionTexts:
    """Of strings; a half of a surrogate pair, which UTF-8 has not, becomes `?`."""
    encoded = [text.encode("utf-8", "replace") for text in texts]
    edges = np.cumsum([0, *map(len, encoded)], dtype=np.int64)
    return CaptionTexts(np.frombuffer(b"".join(encoded), np.uint8), edges[:-1], edges[1:])
