"""pytorch_model.bin: the zip archive that torch.save makes since version 1.6, read as data.

What is in it: `NAME/data.pkl`, the description of the tensors, and an entry `NAME/data/KEY` for each array.
"""

import math
import zipfile
from collections.abc import Iterable
from pathlib import Path

import ml_dtypes
import numpy as np

from pangu_jax.errors import UserError
from pangu_jax.runs.exchange import torch_state
from pangu_jax.runs.exchange.torch_state import ForeignState, StoredTensor
from pangu_jax.runs.exchange.zipped_tensors import ZippedTensors

NUMPY = {"F32": np.dtype("<f4"), "F16": np.dtype("<f2"), "BF16": np.dtype(ml_dtypes.bfloat16)}


class TorchFile(ZippedTensors):
    """Tensors of a file, by name.

    Args:
      file: the file.
      convert: the command that makes a file of it that is read, for messages.
      inside: see `torch_state.read`.
    Raises:
      UserError: it is damaged, is of an older torch, or holds more than tensors by name.
    """

    def __init__(self, file: Path, convert: str, inside: str | None = None):
        self._convert, self._inside = convert, inside
        if not zipfile.is_zipfile(file):
            raise UserError(
                f"{file} is no zip archive, as torch has written since version 1.6: it is damaged or older; "
                f"convert it where you trust it: {convert}"
            )
        super().__init__(file)

    def keys(self) -> Iterable[str]:
        return self._tensors.keys()

    def dtype(self, name: str) -> str:
        return self._tensors[name].array.dtype

    def shape(self, name: str) -> tuple[int, ...]:
        return self._tensors[name].shape

    def get_tensor(self, name: str) -> np.ndarray:
        tensor = self._tensors[name]
        dtype = NUMPY[tensor.array.dtype]
        array = np.frombuffer(self._entry(f"{self._root}data/{tensor.array.key}"), dtype)[tensor.offset :]
        strides = tuple(step * dtype.itemsize for step in tensor.strides)
        view = np.lib.stride_tricks.as_strided(array, tensor.shape, strides, writeable=False)
        return np.ascontiguousarray(view).reshape(tensor.shape)

    def _describe(self) -> None:
        found = [name for name in self._zip.namelist() if name.endswith("/data.pkl") and name.count("/") == 1]
        if len(found) != 1:
            raise self._refused("it has no description of tensors")
        self._root = found[0].removesuffix("data.pkl")
        if self._zip.getinfo(found[0]).file_size > torch_state.LARGEST:
            raise self._refused("its description is larger than one of tensors is")
        entries = {entry.filename: entry for entry in self._zip.infolist()}
        order = f"{self._root}byteorder"
        if order in entries and self._entry(order) != b"little":
            raise self._refused("its numbers are not little-endian")
        try:
            self._tensors = torch_state.read(self._entry(found[0]), self._inside)
        except ForeignState as error:
            raise self._refused(str(error)) from None
        for name, tensor in self._tensors.items():
            self._check(name, tensor, entries.get(f"{self._root}data/{tensor.array.key}"))

    def _check(self, name: str, tensor: StoredTensor, entry: zipfile.ZipInfo | None) -> None:
        """UserError unless the tensor lies in an array that is there, whole and not compressed."""
        dtype = NUMPY.get(tensor.array.dtype)
        if dtype is None:
            return  # refused by name where tensors of all files are looked through
        length = tensor.array.count
        if (
            entry is None
            or entry.compress_type != zipfile.ZIP_STORED
            or entry.file_size != length * dtype.itemsize
        ):
            raise self._refused(f"the array of {name[:60]} is missing or has another size")
        reach = sum((n - 1) * step for n, step in zip(tensor.shape, tensor.strides, strict=True))
        fits = tensor.offset >= 0 and min((*tensor.shape, *tensor.strides), default=0) >= 0
        if not fits or (0 not in tensor.shape and tensor.offset + reach >= length):
            raise self._refused(f"{name[:60]} reaches beyond its array")
        if math.prod(tensor.shape) > length:
            raise self._refused(f"{name[:60]} is larger than its array")

    def _entry(self, name: str) -> bytes:
        with self._undamaged():
            return self._zip.read(name)

    def _refused(self, why: str) -> UserError:
        return UserError(
            f"{self._file} is not read, because {why}: no code in it is ever run here; convert it where you "
            f"trust it: {self._convert}"
        )
