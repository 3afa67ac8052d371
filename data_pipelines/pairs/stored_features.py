"""What a tower that stays as it is makes of every picture of a set: computed once, and then only read.

A cache (`data_pipelines.cache`) holds an array in NumPy's format for each name, fp32, a row a picture by its
place in the set. Rows are read from disk as they are asked for.
"""

import hashlib
import json
import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.format import open_memmap

from data_pipelines import cache
from data_pipelines.batches import Batch
from data_pipelines.errors import DataError

Shapes = Mapping[str, tuple[int, ...]]  # name -> of one picture's array


@dataclass(frozen=True)
class StoredFeatures:
    """Features of every picture (`views.Views`).

    Attributes:
      rows: name -> fp32 [N, ...], by places.
    """

    rows: Mapping[str, np.ndarray]

    def shown(self, place: int, rng: np.random.Generator) -> Batch:
        """See `views.Views`; nothing is drawn."""
        del rng
        return {name: np.array(array[place]) for name, array in self.rows.items()}

    def nothing(self) -> Batch:
        """See `views.Views`."""
        return {name: np.zeros(array.shape[1:], np.float32) for name, array in self.rows.items()}


def open_or_make(
    root: Path,
    key: Mapping[str, Any],
    count: int,
    shapes: Shapes,
    make: Callable[[], Iterable[tuple[np.ndarray, Batch]]],
) -> StoredFeatures:
    """The features of `key` in `root`; made first where they are not there.

    Args:
      root: of all caches.
      key: what they depend on, as JSON can hold it.
      count: of pictures.
      shapes: of what is kept of each.
      make: gives places, int64 [B], and arrays fp32 [B, ...] by name, until every place was there.

    Raises:
      DataError: there is no room, or what is there is damaged.
    """
    named = json.dumps([1, dict(key), count, sorted(shapes.items())])
    name = f"features-{hashlib.sha256(named.encode()).hexdigest()[:16]}"

    def build(folder: Path) -> dict[str, Any]:
        _require_room(folder, count, shapes)
        arrays = {
            of: open_memmap(folder / f"{of}.npy", "w+", np.float32, (count, *shape))
            for of, shape in shapes.items()
        }
        for place_B, rows in make():
            for of, array in arrays.items():
                array[place_B] = rows[of]
        for array in arrays.values():
            array.flush()
        return {"format": 1, **key, "pictures": count}

    found = cache.open_or_build(root, name, build)
    return StoredFeatures({of: _opened(found.root / f"{of}.npy", count, shapes[of]) for of in shapes})


def _opened(path: Path, count: int, shape: tuple[int, ...]) -> np.ndarray:
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError):
        array = None
    if array is None or array.shape != (count, *shape) or array.dtype != np.float32:
        raise DataError(f"the features in {path.parent} are damaged: delete the folder to make them anew")
    return array


def _require_room(folder: Path, count: int, shapes: Shapes) -> None:
    needed = count * 4 * sum(int(np.prod(shape)) for shape in shapes.values())
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise DataError(
            f"features of {count} pictures need {needed / 1e9:.1f} GB in {folder.parent}, where "
            f"{free / 1e9:.1f} are free: set pairs.cache_dir to a larger disk, or give pairs.augment random "
            "views, of which the tower makes features in each step"
        )
