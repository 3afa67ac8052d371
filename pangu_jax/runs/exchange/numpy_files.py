"""A file of numpy.savez, read as data: no entry is unpickled, and its size is known before it is read."""

import zipfile
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Self

import ml_dtypes
import numpy as np

from pangu_jax.errors import UserError

ENDING = ".npy"
# JAX saves bfloat16 as two bytes without a meaning.
NAMES = {"<f4": "F32", "<f2": "F16", "|V2": "BF16", "|b1": "BOOL"}
READERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


class NumpyFile:
    """Arrays of a file, by name, with the methods of safetensors' `safe_open` that are used here.

    Raises:
      UserError: it is damaged, or an entry is no array.
    """

    def __init__(self, file: Path):
        self._file = file
        try:
            self._zip = zipfile.ZipFile(file)
        except (zipfile.BadZipFile, OSError, ValueError) as error:
            raise self._damaged(error) from None
        try:
            self._headers = {
                entry.filename.removesuffix(ENDING): self._header(entry) for entry in self._zip.infolist()
            }
        except BaseException:
            self._zip.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._zip.close()

    def keys(self) -> Iterable[str]:
        """Names of the arrays."""
        return self._headers.keys()

    def dtype(self, name: str) -> str:
        """As safetensors names it ("F32"), or NumPy's name of one that is not read."""
        dtype = self._headers[name][1]
        return NAMES.get(dtype.str, dtype.name)

    def shape(self, name: str) -> tuple[int, ...]:
        """Of an array."""
        return self._headers[name][0]

    def get_tensor(self, name: str) -> np.ndarray:
        """An array, read; its checksum is compared.

        Raises:
          UserError: it is damaged.
        """
        try:
            with self._zip.open(name + ENDING) as entry:
                array = np.lib.format.read_array(entry, allow_pickle=False)
        except (zipfile.BadZipFile, OSError, EOFError, ValueError, RuntimeError) as error:
            raise self._damaged(error) from None
        return array.view(ml_dtypes.bfloat16) if array.dtype.str == "|V2" else array

    def _header(self, entry: zipfile.ZipInfo) -> tuple[tuple[int, ...], np.dtype]:
        if not entry.filename.endswith(ENDING):
            raise self._damaged(f"{entry.filename[:60]} is no array")
        try:
            with self._zip.open(entry) as opened:
                version = np.lib.format.read_magic(opened)
                shape, _, dtype = READERS[version](opened)
        except (zipfile.BadZipFile, OSError, EOFError, ValueError, KeyError, RuntimeError) as error:
            raise self._damaged(error) from None
        if dtype.hasobject:
            raise UserError(
                f"{self._file} is not read, because {entry.filename[:60]} holds Python's objects: no code "
                "in it is ever run here; save its arrays as numbers"
            )
        return shape, dtype

    def _damaged(self, why: object) -> UserError:
        return UserError(
            f"{self._file} is damaged or no file of numpy.savez ({str(why)[:80]}); copy it again"
        )
