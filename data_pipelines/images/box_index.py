"""What is known of the boxes of a set of pictures, looked up once: `boxes.npz` in a cache of its own.

The pictures lie in the cache of `preparing`; this one says of each its boxes, its group and its name, by the
same places.
"""

import functools
import hashlib
import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from data_pipelines import cache
from data_pipelines.errors import DataError
from data_pipelines.images import box_files, boxes, preparing
from data_pipelines.images.batches import Pictures
from data_pipelines.images.boxes import Boxes

FILE = "boxes.npz"


class BoxIndex:
    """Boxes by the place of their picture.

    Attributes:
      identity: a hash of files, classes and pictures.
      classes: names, in the order of their numbers.
      name_N: of each picture.
      group_N: of each picture; its own name where it is alone.
      has_groups: whether pictures have groups at all.
      kinds_NxK: int64, of each picture how many boxes its file has of each class, wanted or not: what splits
        are made even by, whatever is learnt.
      counts: how many boxes are kept, and how many are not by reason.
    """

    def __init__(self, found: cache.Cache):
        with np.load(found.root / FILE, allow_pickle=False) as index:
            self._edges_Bx4, self._label_B = index["edges"], index["label"]
            self._first_N = index["first"]
            self.name_N, self.group_N = index["name"], index["group"]
            self.kinds_NxK = index["kinds"]
        self.identity = found.root.name
        self.classes: list[str] = found.manifest["classes"]
        self.counts: dict[str, int] = found.manifest["counts"]
        self.unmatched: list[str] = found.manifest["unmatched"]
        self.has_groups: bool = found.manifest["has_groups"]

    def __len__(self) -> int:
        return len(self.name_N)

    def of(self, place: int) -> Boxes:
        """The boxes of a picture."""
        own = slice(self._first_N[place], self._first_N[place + 1])
        return Boxes(self._edges_Bx4[own], self._label_B[own])

    @functools.cached_property
    def counts_NxC(self) -> np.ndarray:
        """How many boxes of each class each picture has, int64."""
        found = np.zeros((len(self), len(self.classes)), np.int64)
        picture_B = np.repeat(np.arange(len(self)), np.diff(self._first_N))
        np.add.at(found, (picture_B, self._label_B), 1)
        return found

    @property
    def most(self) -> int:
        """Boxes of the picture that has most."""
        return int(np.diff(self._first_N).max(initial=0))


def prepare(
    pictures: Pictures, prepared: cache.Cache, annotations: str, classes: tuple[str, ...], root: Path
) -> BoxIndex:
    """The index of these pictures in `root`; made first where it is not there.

    Args:
      pictures: those of `prepared`.
      prepared: their cache.
      annotations: a file, or a folder of files.
      classes: those that are wanted, in this order; all that there are, sorted, when ().
      root: of caches.

    Raises:
      DataError: as `box_files.read`, or no picture has a box.
    """
    key = json.dumps([3, prepared.root.name, preparing.listing(annotations), classes])
    name = f"boxes-{hashlib.sha256(key.encode()).hexdigest()[:16]}"
    return BoxIndex(
        cache.open_or_build(root, name, lambda folder: _build(folder, pictures, annotations, classes))
    )


def _build(folder: Path, pictures: Pictures, annotations: str, wanted: tuple[str, ...]) -> dict[str, Any]:
    told = box_files.read(annotations)
    names = [pictures.name(place) for place in range(len(pictures))]
    raw = box_files.matched(told, names)
    if not any(one and one.names for one in raw):
        such = next(iter(told))
        raise DataError(
            f"no box of {annotations} is of a picture that is there: it names pictures such as {such!r}, and "
            f"there are such as {names[0]!r}; name them alike"
        )
    kinds = sorted({name for one in raw if one for name in one.names})
    classes = list(wanted) or kinds
    numbers = {name: number for number, name in enumerate(classes)}
    counts: Counter[str] = Counter()
    kept = []
    for place, one in enumerate(raw):
        height, width = pictures.sides(place)
        kept.append(boxes.usable(one, width, height, numbers, counts) if one else Boxes.none())
    # As the annotations say, or the source, or else a flight is a folder.
    groups = [
        (one.group if one else None) or source or flight(name)
        for one, source, name in zip(raw, pictures.group_N.tolist(), names, strict=True)
    ]
    fit = {id(one) for one in raw}
    if lost := sum(len(one.names) for one in told.values() if id(one) not in fit):
        counts[boxes.LOST] = lost
    np.savez(
        folder / FILE,
        edges=np.concatenate([one.edges_Nx4 for one in kept]),
        label=np.concatenate([one.label_N for one in kept]),
        first=np.cumsum([0, *(len(one.label_N) for one in kept)]),
        name=np.array(names, str),
        group=np.array([group or name for group, name in zip(groups, names, strict=True)], str),
        kinds=np.array([[list(one.names).count(kind) if one else 0 for kind in kinds] for one in raw]),
    )
    if not sum(counts[key] for key in (boxes.KEPT, boxes.CUT)):
        why = ", ".join(f"{count} {reason}" for reason, count in counts.items())
        raise DataError(f"{annotations}: no box can be used ({why})")
    return {
        "format": 1,
        "annotations": annotations,
        "classes": classes,
        "counts": {"read": sum(counts.values()), **dict(sorted(counts.items()))},
        "unmatched": [name for name, one in zip(names, raw, strict=True) if one is None],
        "has_groups": any(groups),
    }


def flight(name: str) -> str | None:
    """The folder of a photo; None at the top."""
    folder, _, rest = name.rpartition("/")
    return folder if rest and folder else None
