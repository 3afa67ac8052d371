"""The pictures that rounds are about: a pool whose labels are asked for, and some that are held out."""

import csv
import functools
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data_pipelines.images import draws as drawing
from data_pipelines.images.images import Images
from pangu_jax.errors import UserError, suggestion

COLUMNS = ("id", "label")


@dataclass(frozen=True)
class Pool:
    """Pictures by their rows here, 0 to N - 1; of most of them nobody has said what they are.

    Attributes:
      images: the set.
      place_N: where the set has them, int64.
      start_N: classes known before the first question, int; -1 where none is.
      classes: names.
      held_place_M: pictures that are only measured on, int64.
      held_label_M: their classes, int.
    """

    images: Images
    place_N: np.ndarray
    start_N: np.ndarray
    classes: tuple[str, ...]
    held_place_M: np.ndarray
    held_label_M: np.ndarray

    def __len__(self) -> int:
        return len(self.place_N)

    @property
    def bits(self) -> float:
        """What a full label is worth: log2 of the number of classes."""
        return math.log2(len(self.classes))

    @functools.cached_property
    def ids(self) -> list[str]:
        """Names of the pictures as their source has them."""
        return [self.images.pictures.name(int(place)) for place in self.place_N]

    @functools.cached_property
    def row_of(self) -> dict[str, int]:
        """Rows by id."""
        return {name: row for row, name in enumerate(self.ids)}

    def class_of(self, name: str, where: str) -> int:
        """The class of a name. UserError where there is none of it, `where` it was said."""
        try:
            return self._class_of[name]
        except KeyError:
            raise UserError(f"{where}: no class {name!r}{suggestion(name, self.classes)}") from None

    @functools.cached_property
    def _class_of(self) -> dict[str, int]:
        return {name: number for number, name in enumerate(self.classes)}


def of_images(
    images: Images, share: float, draw: int, pictures: int | None = None, known: str | None = None
) -> Pool:
    """The training side of a set as a pool.

    Args:
      images: the set.
      share: of each class's pictures that are labelled from the start, by the source's own labels; at least
        one of each class. Its other labels are not looked at.
      draw: number of the draw of the start set.
      pictures: so many of the training side, the same for every draw; all when None.
      known: a file "id,label" of what is known from the start, in place of `share`; of pictures held out too.

    Raises:
      UserError, DataError: no label is known, or the file names pictures or classes that are not there.
    """
    place_N, held_M = images.pictures.places(False), images.measured
    if pictures is not None and pictures < len(place_N):
        place_N = np.sort(np.random.default_rng(0).permutation(place_N)[:pictures])
    label = images.pictures.label_N.astype(np.int64)
    classes = tuple(images.classes)
    if known is None:
        drawing.require_classes(label[place_N])
        started = drawing.drawn(label, place_N, share, draw)
        start = np.full(len(label), -1)
        start[started] = label[started]
    else:
        found = read_labels(known)
        classes = classes or tuple(sorted(set(found.values())))
        place_of = places_by_id(images)
        require_known_ids(found, place_of, known)
        number = {name: at for at, name in enumerate(classes)}
        if strange := next((name for name in found.values() if name not in number), None):
            raise UserError(f"{known}: no class {strange!r}{suggestion(strange, classes)}")
        start = np.full(len(label), -1)
        for name, of in found.items():
            start[place_of[name]] = number[of]
        label = np.where(label >= 0, label, start)
    held_M = held_M[label[held_M] >= 0]
    pool = Pool(images, place_N, start[place_N], classes, held_M, label[held_M])
    if len(classes) < 2 or len(set(pool.start_N.tolist()) - {-1}) < 2:
        raise UserError(
            f"{images.settings.path}: rounds begin with pictures of two classes at least that are labelled: "
            "give class folders, or a file by iterate.known"
        )
    if not len(held_M):
        raise UserError(f"{images.settings.path}: nothing that is held out has a label to measure by")
    return pool


def places_by_id(images: Images) -> dict[str, int]:
    """Places of all pictures of a set by their names."""
    return {images.pictures.name(place): place for place in range(len(images.pictures))}


def require_known_ids(labels: dict[str, str], place_of: dict[str, int], path: str | Path) -> None:
    """UserError where labels are of pictures that are not in the set."""
    if strange := [name for name in labels if name not in place_of]:
        more = f" and {len(strange) - 1} more" if len(strange) > 1 else ""
        raise UserError(
            f"{path}: no picture has the id {strange[0]!r}{more}: ids are names as the set has them, such as "
            f"{next(iter(place_of), '')!r}"
        )


def read_labels(path: str | Path) -> dict[str, str]:
    """Labels by id, of a CSV file whose first line is "id,label".

    Raises:
      UserError: it cannot be read, has other columns, or says two things of one picture.
    """
    try:
        with Path(path).open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.DictReader(stream)
            if missing := [name for name in COLUMNS if name not in (reader.fieldnames or ())]:
                raise UserError(f"{path}: its first line must name the columns id,label; no {missing[0]!r}")
            found: dict[str, str] = {}
            for row in reader:
                name, label = row["id"], row["label"]
                if not name or not label:
                    raise UserError(f"{path}, line {reader.line_num}: id and label are both needed")
                if found.setdefault(name, label) != label:
                    raise UserError(
                        f"{path}, line {reader.line_num}: {name!r} is {label!r} here, {found[name]!r} before"
                    )
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from None
    if not found:
        raise UserError(f"{path} has no labels")
    return found
