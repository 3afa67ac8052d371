"""Tensors in files: which file holds which, reading one after the other, writing safetensors in shards."""

import json
import re
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import TypeAlias

import ml_dtypes
import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from pangu_jax.errors import UserError
from pangu_jax.runs.exchange.array_files import ArrayFile
from pangu_jax.runs.exchange.mindspore_files import MindSporeFile
from pangu_jax.runs.exchange.numpy_files import NumpyFile
from pangu_jax.runs.exchange.torch_files import TorchFile

SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
TORCH, TORCH_SUFFIXES = "pytorch_model.bin", (".bin", ".pth", ".pt")
DTYPES = {"F32": np.dtype(np.float32), "F16": np.dtype(np.float16), "BF16": np.dtype(ml_dtypes.bfloat16)}
NAMES = {dtype: name for name, dtype in DTYPES.items()}
# Of rounded weights, by the names of safetensors, NumPy, torch and MindSpore; 4 bits lie two or more in a
# number of these, or in one of 32 bits under a name that says so.
QUANTISED = re.compile(r"u?int[248]|[iu][248]|f[468](_.*)?|float[48].*|(char|byte)storage", re.IGNORECASE)
PACKED = re.compile(r"qweight|qzeros|weight_packed|weight_scale|weight_offset|antiquant")
UNKNOWN = re.compile(r"unknown variant `([^`]+)`")  # a dtype that safetensors has no name for
# Files that are opened with no more than their name.
BY_SUFFIX: dict[str, type[NumpyFile | ArrayFile | MindSporeFile]] = {
    ".npz": NumpyFile,
    ".npy": ArrayFile,
    ".ckpt": MindSporeFile,
}
Opened: TypeAlias = safe_open | TorchFile | NumpyFile | ArrayFile | MindSporeFile


class Tensors:
    """The tensors of one file, or of a folder with model.safetensors or pytorch_model.bin, or with shards of
    one and their index. Nothing is read yet.

    Args:
      source: the file (.safetensors, .npz, or what torch.save wrote) or the folder.
      convert: the command that makes a file of torch one that is read, for messages; `{0}` is the source.
      inside: see `torch_state.read`.
      unread: whether a tensor of that name is passed over; it may have any dtype.
      files: those that hold the tensors, where the folder does not say it.

    Attributes:
      folder: the source.
      shapes: of each tensor.
      dtypes: of each, as safetensors names them ("F32", "BF16", "F16").
      left_out: names of those that were passed over.
    Raises:
      UserError: there is none, a file is missing or damaged, or a tensor has another dtype.
    """

    def __init__(
        self,
        source: Path,
        convert: str,
        inside: str | None = None,
        unread: Callable[[str], bool] = lambda name: False,
        files: Sequence[Path] = (),
    ):
        self.folder = source
        self._open = partial(_opened, convert=convert.format(source), inside=inside)
        self.left_out: list[str] = []
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.dtypes: dict[str, str] = {}
        self._places: dict[str, tuple[Path, str]] = {}  # the file, and the name there
        for file in files or _files(source):
            with self._open(file) as tensors:
                for name in tensors.keys():  # noqa: SIM118 - no mapping
                    if unread(name):
                        self.left_out.append(name)
                        continue
                    dtype, shape = _described(tensors, name)
                    if dtype not in DTYPES:
                        raise _unread_dtype(file, name, dtype)
                    if name in self._places:
                        raise UserError(f"{file}: {name} is also in {self._places[name][0].name}; remove one")
                    self._places[name] = file, name
                    self.shapes[name], self.dtypes[name] = shape, dtype

    def alias(self, name: str, others: Iterable[str]) -> None:
        """Where `name` is missing, let the first of `others` that is there be it as well."""
        known = next((other for other in others if other in self.shapes), None)
        if name not in self.shapes and known:
            self.shapes[name] = self.shapes[known]
            self.dtypes[name] = self.dtypes[known]
            self._places[name] = self._places[known]

    @contextmanager
    def reading(self) -> Generator[Callable[[str], np.ndarray]]:
        """A function that reads a tensor by name.

        Files are mapped into memory while the context lasts: to leave it is to give their pages back.
        """
        with ExitStack() as stack:
            opened = {}

            def read(name: str) -> np.ndarray:
                file, stored = self._places[name]
                if file not in opened:
                    opened[file] = stack.enter_context(self._open(file))
                return opened[file].get_tensor(stored)

            yield read

    def equal(self, name: str, other: str) -> bool:
        """Whether two tensors are the same to the bit."""
        if (self.shapes[name], self.dtypes[name]) != (self.shapes[other], self.dtypes[other]):
            return False
        with self.reading() as read:
            return np.array_equal(_bits(read(name)), _bits(read(other)))


def _unread_dtype(file: Path, name: str, dtype: str) -> UserError:
    if QUANTISED.fullmatch(dtype) or PACKED.search(name):
        return UserError(
            f"{file}: {name} is {dtype}: its weights are quantised, and only {', '.join(DTYPES)} are read: "
            "bring the model without quantisation"
        )
    return UserError(
        f"{file}: {name} is {dtype}; only {', '.join(DTYPES)} are read: save the model with one of them"
    )


def _bits(array: np.ndarray) -> np.ndarray:
    return array.view(f"u{array.dtype.itemsize}")  # a NaN is itself


def _files(folder: Path) -> list[Path]:
    if folder.is_file():
        return [folder]
    for single in (SINGLE, TORCH):
        index = folder / f"{single}.index.json"
        if (folder / single).is_file():
            return [folder / single]
        if index.is_file():
            break
    else:
        raise UserError(
            f"{folder} has neither {SINGLE} nor {INDEX}, nor {TORCH}; give the folder of a saved model"
        )
    try:
        names = set(json.loads(index.read_text("utf-8"))["weight_map"].values())
        files = [folder / name for name in sorted(names)]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise UserError(f"{index} is no index of shards; copy it again") from None
    for file in files:
        if file.parent != folder or not file.is_file():
            raise UserError(f"{index} names {file.name}, which is not beside it; copy that file too")
    return files


def _described(tensors: Opened, name: str) -> tuple[str, tuple[int, ...]]:
    """The dtype and the shape of a tensor."""
    if isinstance(tensors, TorchFile | NumpyFile | ArrayFile | MindSporeFile):
        return tensors.dtype(name), tensors.shape(name)
    described = tensors.get_slice(name)
    return described.get_dtype(), tuple(described.get_shape())


@contextmanager
def _opened(file: Path, convert: str, inside: str | None) -> Generator[Opened]:
    if file.suffix in TORCH_SUFFIXES:
        with TorchFile(file, convert, inside) as tensors:
            yield tensors
        return
    if file.suffix in BY_SUFFIX:
        with BY_SUFFIX[file.suffix](file) as tensors:
            yield tensors
        return
    try:
        with safe_open(file, "np") as tensors:
            yield tensors
    except SafetensorError as error:
        if named := UNKNOWN.search(str(error)):
            raise _unread_dtype(file, "a tensor", named[1]) from None
        raise UserError(f"{file} is damaged or no safetensors file ({error}); copy it again") from None
    except OSError as error:
        raise UserError(f"cannot read {file}: {error.strerror or error}; repair it and try again") from None


class Shards:
    """Writes tensors as they come into files of at most `shard_bytes`, one tensor at least.

    `finish` names them model.safetensors, or model-00001-of-00003.safetensors and so on with an index.
    """

    def __init__(self, folder: Path, shard_bytes: int):
        self._folder, self._shard_bytes = folder, shard_bytes
        self._pending: dict[str, np.ndarray] = {}
        self._written: list[list[str]] = []
        self._bytes = self.total_bytes = self.count = 0

    def add(self, name: str, tensor: np.ndarray) -> None:
        """One more tensor, in memory until its shard is full."""
        if self._pending and self._bytes + tensor.nbytes > self._shard_bytes:
            self._flush()
        # safetensors writes memory as it lies under the shape of the view: a transposed one would be wrong.
        self._pending[name] = np.ascontiguousarray(tensor).reshape(tensor.shape)
        self.count += 1
        self._bytes += tensor.nbytes
        self.total_bytes += tensor.nbytes

    def finish(self) -> list[str]:
        """Write what is pending and the index; the names of the files."""
        self._flush()
        count = len(self._written)
        names = [f"model-{number:05d}-of-{count:05d}.safetensors" for number in range(1, count + 1)]
        names = names if count > 1 else [SINGLE]
        for number, name in enumerate(names):
            self._unnamed(number).rename(self._folder / name)
        if count > 1:
            weight_map = {
                tensor: name for name, tensors in zip(names, self._written, strict=True) for tensor in tensors
            }
            write_json(
                self._folder / INDEX,
                {"metadata": {"total_size": self.total_bytes}, "weight_map": weight_map},
            )
        return names

    def _flush(self) -> None:
        save_file(self._pending, self._unnamed(len(self._written)), {"format": "pt"})
        self._written.append(list(self._pending))
        self._pending, self._bytes = {}, 0

    def _unnamed(self, number: int) -> Path:
        return self._folder / f"shard-{number}.partial"


def write_json(file: Path, value: Mapping) -> None:
    """As transformers writes its own."""
    file.write_text(json.dumps(value, indent=2, ensure_ascii=False, sort_keys=True) + "\n", "utf-8")
