"""Tensors in a zip archive, opened and read with its checks: what readers of NumPy's and torch's share."""

import zipfile
import zlib
from abc import ABC, abstractmethod
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self

import numpy as np

from pangu_jax.errors import UserError

# What the standard library raises over a damaged archive: zlib's error is no ValueError.
DAMAGE = (zipfile.BadZipFile, zlib.error, OSError, EOFError, KeyError, ValueError, RuntimeError)


class ZippedTensors(ABC):
    """An open file, with the methods of safetensors' `safe_open` that are used here.

    Attributes:
      wrong: what a file is over which the standard library stumbles.

    Args:
      file: the file.
    Raises:
      UserError: it is damaged, or what it holds is refused.
    """

    wrong: ClassVar[str] = "damaged"

    def __init__(self, file: Path):
        self._file = file
        with self._undamaged():
            self._zip = zipfile.ZipFile(file)
        try:
            self._describe()
        except BaseException:
            self._zip.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._zip.close()

    @abstractmethod
    def keys(self) -> Iterable[str]:
        """Names of the tensors."""

    @abstractmethod
    def dtype(self, name: str) -> str:
        """As safetensors names it ("F32"), or the library's own name of one that is not read."""

    @abstractmethod
    def shape(self, name: str) -> tuple[int, ...]:
        """Of a tensor."""

    @abstractmethod
    def get_tensor(self, name: str) -> np.ndarray:
        """A tensor, read; its checksum is compared.

        Raises:
          UserError: it is damaged.
        """

    @abstractmethod
    def _describe(self) -> None:
        """Read of all tensors what they are, and refuse what is none."""

    @contextmanager
    def _undamaged(self) -> Generator[None]:
        """UserError for what is raised over a damaged archive."""
        try:
            yield
        except DAMAGE as error:
            raise self._damaged(error) from None

    def _damaged(self, why: object) -> UserError:
        return UserError(f"{self._file} is {self.wrong} ({str(why)[:80]}); copy it again")
