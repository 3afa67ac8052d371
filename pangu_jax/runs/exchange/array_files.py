"""A file of numpy.save: one array, which has the file's name. Nothing in it is unpickled."""

from collections.abc import Iterable
from pathlib import Path
from typing import Self

import ml_dtypes
import numpy as np

from pangu_jax.errors import UserError
from pangu_jax.runs.exchange.numpy_files import NAMES


class ArrayFile:
    """The array of a file, mapped into memory.

    Raises:
      UserError: it is damaged, or holds Python's objects.
    """

    def __init__(self, file: Path):
        try:
            self._array = np.load(file, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise UserError(f"{file} is damaged or no array of numpy.save ({error}); copy it again") from None
        self._name = file.name.removesuffix(".npy")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        del self._array

    def keys(self) -> Iterable[str]:
        """Its one name."""
        return [self._name]

    def dtype(self, name: str) -> str:
        """As safetensors names it, or NumPy's own name."""
        del name
        return NAMES.get(self._array.dtype.str, self._array.dtype.name)

    def shape(self, name: str) -> tuple[int, ...]:
        """Of the array."""
        del name
        return self._array.shape

    def get_tensor(self, name: str) -> np.ndarray:
        """The array, a view of the file."""
        del name
        bits = self._array.dtype.str == "|V2"
        return self._array.view(ml_dtypes.bfloat16) if bits else self._array
