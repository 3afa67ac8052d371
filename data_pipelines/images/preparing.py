"""Pictures of a source, looked at once: which can be used, which are held out, and where their bytes lie.

A cache (`data_pipelines.cache`) holds the encoded bytes of all that can be used, as the TFDS dataset
`pictures`, and beside it `index.npz`: what is known of each. Nothing decoded is kept: what a picture is
resized to, a recipe may change at any time.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from data_pipelines import array_records, cache
from data_pipelines.errors import DataError
from data_pipelines.images import copies, packaged, splitting
from data_pipelines.images.decoding import PictureError, decode, size_of
from data_pipelines.images.picture import Fields, PictureFile
from data_pipelines.images.sources import PictureSource

DATASET = "pictures"
SPLIT = "kept"  # not "all": TFDS reads that as all splits, this one too, without end
INDEX = "index.npz"
AHEAD = 64  # pictures that are looked at together
LOOKED_AT = 72  # pixels of the shorter side that a hash is made of


class Settings(NamedTuple):
    """What a cache of pictures is made by.

    Attributes:
      path: see `sources.PictureSource`.
      fields: columns of tables.
      validation_fraction: of every class, where the source is not split.
      max_pixels: larger pictures are set aside.
    """

    path: str
    fields: Fields
    validation_fraction: float
    max_pixels: int


class Known(NamedTuple):
    """What is known of a picture that can be used.

    Attributes:
      name, label, side: as the source has them.
      group: the source's; None where it says nothing.
      digest: of its bytes, a group of its own.
      hash: `copies.difference_hash`.
      height, width: as it is seen.
    """

    name: str
    label: str | None
    side: str | None
    group: str | None
    digest: str
    hash: int
    height: int
    width: int


class ExactCopy(NamedTuple):
    """A picture that is left out because its bytes are those of another.

    Attributes:
      name, side: as the source has them.
      place: of the one that is kept.
    """

    name: str
    side: str | None
    place: int


class WrittenPictures(NamedTuple):
    """What became of pictures.

    Attributes:
      known: those that can be used, by their places in the dataset.
      copies: of them.
      set_aside: how many cannot be used or are copies, by reason.
    """

    known: list[Known]
    copies: list[ExactCopy]
    set_aside: Counter[str]


def prepare(settings: Settings, root: Path) -> cache.Cache:
    """The cache of these pictures in `root`; made first where it is not there.

    Raises:
      DataError: there is nothing at the path, or nothing of it can be used.
    """
    key = json.dumps([2, listing(settings.path), settings])
    name = hashlib.sha256(key.encode()).hexdigest()[:16]
    return cache.open_or_build(root, f"{DATASET}-{name}", lambda folder: build(settings, folder))


def listing(path: str, function: str = "images") -> str:
    """A hash of the names, sizes and times of all files that there are; `function` of recipes names the path.

    Their bytes are not read for it, since a run that resumes would have to read all of them.
    """
    if path.startswith("tfds:"):
        return path
    if path.startswith(packaged.PREFIX):
        return packaged.version(path.removeprefix(packaged.PREFIX))
    top = Path(path)
    if not top.exists():
        raise DataError(f"{function}.path: there is no {path}")
    hashed = hashlib.sha256()
    for file in sorted(top.rglob("*")) if top.is_dir() else [top]:
        if file.is_file():
            seen = file.stat()
            line = f"{file.relative_to(top.parent)}\0{seen.st_size}\0{seen.st_mtime_ns}\n"
            hashed.update(line.encode("utf-8", "surrogateescape"))
    return hashed.hexdigest()


def build(settings: Settings, folder: Path) -> dict[str, Any]:
    """Fills the folder of a cache; gives its manifest."""
    source = PictureSource(settings.path, settings.fields)
    known, _, set_aside = write_pictures(folder, source.pictures(), settings.max_pixels)
    if not known:
        raise DataError(f"images.path: {nothing(settings.path, source.skipped, set_aside)}")
    names = {one.label for one in known if one.label is not None}
    classes = sorted(names, key=lambda name: (not name.isdecimal(), len(name) * name.isdecimal(), name))
    held_out = _held_out(known, settings.validation_fraction)
    hashes = write_index(folder, known, held_out, classes)
    train, out = np.flatnonzero(~held_out), np.flatnonzero(held_out)
    near = copies.near_copies(hashes[train], hashes[out])
    return {
        "format": 1,
        "path": settings.path,
        "max_pixels": settings.max_pixels,
        "classes": classes,
        "pictures": {"train": len(train), "validation": len(out)},
        "without_label": sum(one.label is None for one in known),
        "groups": len({one.group or one.digest for one in known}),
        "split_by_source": any(one.side for one in known),
        "set_aside": dict(sorted(set_aside.items())),
        "skipped_files": dict(sorted(source.skipped.items())),
        "near_copies": len(np.unique(near[:, 1])),
        "near_copies_such_as": [[known[train[a]].name, known[out[b]].name] for a, b in near[:5].tolist()],
    }


def write_pictures(folder: Path, pictures: Iterator[PictureFile], max_pixels: int) -> WrittenPictures:
    """Looks at every picture, and writes those that can be used, as the dataset `pictures` in a folder."""
    written = WrittenPictures([], [], Counter())
    _write(folder, _used(_looked_at(pictures, max_pixels), written))
    return written


def write_index(
    folder: Path, known: Sequence[Known], held_out: np.ndarray, classes: Sequence[str] = ()
) -> np.ndarray:
    """Writes what is known of each picture beside them; gives their hashes, uint64 [N]."""
    places: dict[str | None, int] = {name: place for place, name in enumerate(classes)}
    hashes = np.array([one.hash for one in known], np.uint64)
    np.savez(
        folder / INDEX,
        label=np.array([places.get(one.label, -1) for one in known], np.int32),
        held_out=held_out,
        group=np.array([one.group or "" for one in known], str),
        hash=hashes,
        height=np.array([one.height for one in known], np.int32),
        width=np.array([one.width for one in known], np.int32),
    )
    return hashes


def _looked_at(
    pictures: Iterator[PictureFile], max_pixels: int
) -> Iterator[tuple[PictureFile, int, tuple[int, int]] | PictureError]:
    """Each picture with its hash and size, decoded on as many threads as there are cores; or why it is of no
    use. In their order."""

    def look(picture: PictureFile) -> tuple[PictureFile, int, tuple[int, int]] | PictureError:
        try:
            size = size_of(picture.data, max_pixels)
            pixels = decode(picture.data, at_least=LOOKED_AT, max_pixels=max_pixels)
        except PictureError as error:
            return error
        return picture, copies.difference_hash(pixels), size

    with ThreadPoolExecutor() as pool:
        while some := list(islice(pictures, AHEAD)):
            yield from pool.map(look, some)


def _used(looked_at: Iterable, written: WrittenPictures) -> Iterator[bytes]:
    """Records of the pictures that can be used; fills `written` with them and with the others."""
    seen: dict[str, int] = {}
    for found in looked_at:
        if isinstance(found, PictureError):
            written.set_aside[found.reason] += 1
            continue
        picture, hashed, size = found
        if (digest := copies.digest(picture.data)) in seen:
            written.set_aside["exact copies"] += 1
            written.copies.append(ExactCopy(picture.name, picture.side, seen[digest]))
            continue
        seen[digest] = len(written.known)
        written.known.append(
            Known(picture.name, picture.label, picture.side, picture.group, digest, hashed, *size)
        )
        yield array_records.example(
            {
                "image": [picture.data],
                "label": [(picture.label or "").encode()],
                "name": [picture.name.encode()],
            }
        )


def _held_out(known: Sequence[Known], fraction: float) -> np.ndarray:
    if any(one.side for one in known):
        return np.array([one.side == "validation" for one in known])
    return splitting.held_out(
        [one.group or one.digest for one in known], [one.label for one in known], fraction
    )


def _write(folder: Path, records: Iterator[bytes]) -> None:
    """The dataset, a shard at a time: pictures may be more than memory holds."""
    import tensorflow_datasets as tfds

    where = folder / DATASET / array_records.VERSION
    where.mkdir(parents=True)
    lengths, size = [], 0
    while True:
        part = where / f"part-{len(lengths)}"
        count, written = array_records.write_shard(part, _of_a_shard(records))
        if lengths and not count:
            part.unlink()
            break
        lengths.append(count)
        size += written
    for number in range(len(lengths)):
        path = array_records.shard_path(where, DATASET, SPLIT, number, len(lengths))
        (where / f"part-{number}").rename(path)
    features = tfds.features.FeaturesDict(
        {
            "image": tfds.features.Image(),
            "label": tfds.features.Text(),
            "name": tfds.features.Text(),
        }
    )
    array_records.write_metadata(where, DATASET, features, {SPLIT: (lengths, size)})


def _of_a_shard(records: Iterator[bytes]) -> Iterator[bytes]:
    size = 0
    for record in records:
        yield record
        size += len(record)
        if size >= cache.SHARD_BYTES:
            return


def nothing(path: str, skipped: Counter[str], set_aside: Counter[str]) -> str:
    """The words for it that no picture of a path can be used, with the reasons."""
    why = [f"{count} {what}" for of in (set_aside, skipped) for what, count in of.most_common(4)]
    return f"{path} has no picture that can be used" + (f" ({', '.join(why)})" if why else "")
