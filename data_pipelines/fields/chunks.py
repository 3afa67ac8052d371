"""Chunks of a store: one file holds a variable at one time, and one that is lost or damaged is named.

Zarr reads a chunk that is not there as NaN without a word, and LZ4 does not see a bit that has turned: so
files are looked for, and each ends with a checksum.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from data_pipelines.errors import DataError
from data_pipelines.fields.variables import FieldNames


@dataclass(frozen=True)
class Chunks:
    """Variables of a store by their names, as `zarr.Array`s whose first dimension is time; can be pickled."""

    path: Path
    arrays: Mapping[str, Any]

    def file(self, name: str, place: int) -> Path:
        """Where a variable's field at a time is."""
        return self.path.joinpath(name, "c", str(place), *("0",) * (self.arrays[name].ndim - 1))

    def field(self, name: str, place: int) -> np.ndarray:
        """float32 [L, H, W] or [H, W].

        Raises:
          DataError: its chunk is lost or damaged.
        """
        file = self.file(name, place)
        try:
            field = self.arrays[name][place]
        except (ValueError, RuntimeError, OSError) as error:
            raise DataError(
                f"{file} is damaged ({str(error).splitlines()[0]}): remove {self.path} and build it again"
            ) from None
        if not file.exists():
            raise DataError(f"{file} is missing: remove {self.path} and build it again")
        return field

    def fields(self, names: FieldNames, levels: list[int] | slice, place: int) -> list[np.ndarray]:
        """All fields [H, W] of a time in the order (level, upper variable), then surface variables."""
        columns = [self.field(name, place)[levels] for name in names.upper]
        rows = [field for level in zip(*columns, strict=True) for field in level]
        return rows + [self.field(name, place) for name in names.surface]

    def require_all(self, names: Sequence[str], times_N: np.ndarray) -> None:
        """Look for every time of variables; of files that are lost, not whole folders, `field` tells.

        Raises:
          DataError: times are missing.
        """
        for name in names:
            folder = self.path / name / "c"
            there = {entry.name for entry in os.scandir(folder)} if folder.is_dir() else set()
            lacking = [place for place in range(len(times_N)) if str(place) not in there]
            if lacking:
                raise DataError(
                    f"{self.path}: {len(lacking)} of {len(times_N)} states of {name} are missing, the first "
                    f"at {times_N[lacking[0]]}: remove the store and build it again"
                )
