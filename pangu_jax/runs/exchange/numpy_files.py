"""A file of numpy.savez, read as data: no entry is unpickled, and its size is known before it is read."""

import zipfile
from collections.abc import Iterable
from typing import ClassVar

import ml_dtypes
import numpy as np

from pangu_jax.errors import UserError
from pangu_jax.runs.exchange.zipped_tensors import ZippedTensors

ENDING = ".npy"
# JAX saves bfloat16 as two bytes without a meaning.
NAMES = {"<f4": "F32", "<f2": "F16", "|V2": "BF16", "|b1": "BOOL"}
READERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


class NumpyFile(ZippedTensors):
    """Arrays of a file, by name.

    Raises:
      UserError: it is damaged, or an entry is no array.
    """

    wrong: ClassVar[str] = "damaged or no file of numpy.savez"

    def keys(self) -> Iterable[str]:
        return self._headers.keys()

    def dtype(self, name: str) -> str:
        dtype = self._headers[name][1]
        return NAMES.get(dtype.str, dtype.name)

    def shape(self, name: str) -> tuple[int, ...]:
        return self._headers[name][0]

    def get_tensor(self, name: str) -> np.ndarray:
        with self._undamaged(), self._zip.open(name + ENDING) as entry:
            array = np.lib.format.read_array(entry, allow_pickle=False)
        return array.view(ml_dtypes.bfloat16) if array.dtype.str == "|V2" else array

    def _describe(self) -> None:
        entries = self._zip.infolist()
        self._headers = {entry.filename.removesuffix(ENDING): self._header(entry) for entry in entries}

    def _header(self, entry: zipfile.ZipInfo) -> tuple[tuple[int, ...], np.dtype]:
        if not entry.filename.endswith(ENDING):
            raise self._damaged(f"{entry.filename[:60]} is no array")
        with self._undamaged(), self._zip.open(entry) as opened:
            version = np.lib.format.read_magic(opened)
            shape, _, dtype = READERS[version](opened)
        if dtype.hasobject:
            raise UserError(
                f"{self._file} is not read, because {entry.filename[:60]} holds Python's objects: no code "
                "in it is ever run here; save its arrays as numbers"
            )
        return shape, dtype
