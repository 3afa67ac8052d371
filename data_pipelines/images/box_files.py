"""Files that say where things are in pictures: Pascal VOC's XML, COCO's JSON, and columns of a Parquet table.

Boxes are found by a picture's name. Classes are known by their names alone: numbers of categories differ from
file to file, and are used for nothing else than to find the name in the same file.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any
from xml.etree.ElementTree import Element, ParseError

from data_pipelines.errors import DataError
from data_pipelines.images.boxes import RawBoxes
from data_pipelines.images.picture_tables import GROUPS

LARGEST = 1024 * 2**20  # bytes of an annotation file
BOXES, LABELS = ("boxes", "bboxes"), ("labels", "classes")


def read(path: str | Path) -> dict[str, RawBoxes]:
    """Name of a picture -> its boxes, of a file or of all annotation files under a folder.

    A picture of a folder is named by its path in it, `flight_1/07.jpg`; one of a table as `data_pipelines`
    names it, `photos.parquet:7`. VOC's XML is named by its own path without the suffix (`matched`).

    Raises:
      DataError: there is no such file, it holds no boxes, or it cannot be read.
    """
    top = Path(path)
    if not top.exists():
        raise DataError(f"boxed_images.annotations: there is no {top}")
    files = sorted(file for file in top.rglob("*") if file.is_file()) if top.is_dir() else [top]
    found: dict[str, RawBoxes] = {}
    for file in files:
        suffix = file.suffix.lower()
        if suffix in _READERS and file.stat().st_size > LARGEST:
            raise DataError(f"{file}: {file.stat().st_size / 2**20:.0f} MiB, more than annotations can be")
        if suffix in _READERS:
            folder = file.relative_to(top).parent.as_posix() if top.is_dir() else "."
            for name, boxes in _READERS[suffix](file):
                key = name if folder == "." else f"{folder}/{name}"
                if key in found:
                    raise DataError(f"{file}: boxes of {key!r} are in another place too: put them in one")
                found[key] = boxes
    if not found:
        raise DataError(
            f"{top} has no boxes: give VOC's .xml, COCO's .json, or Parquet with the columns boxes and labels"
        )
    return found


def matched(annotations: Mapping[str, RawBoxes], names: Sequence[str]) -> list[RawBoxes | None]:
    """The boxes of each picture, None where there are none: by its name, by its stem, by both in a folder
    `Annotations` beside its own, or by its last part alone.

    Raises:
      DataError: two pictures would have one annotation, as where flights hold photos of the same names and
        annotations do not say of which flight.
    """
    taken: dict[str, str] = {}
    found: list[RawBoxes | None] = []
    for name in names:
        key = next((key for key in _keys(name) if key in annotations), None)
        if key is not None and (other := taken.setdefault(key, name)) != name:
            raise DataError(
                f"{other} and {name} both fit the annotation of {key!r}: name folders there too, {name!r}"
            )
        found.append(None if key is None else annotations[key])
    return found


def _keys(name: str) -> tuple[str, ...]:
    path = PurePosixPath(name)
    beside = path.parent.parent / "Annotations" / path.stem
    return name, path.with_suffix("").as_posix(), beside.as_posix(), path.stem, path.name


def _of_voc(file: Path) -> Iterator[tuple[str, RawBoxes]]:
    """Corners are counted from 1 and both inside the box: 1, 1, 10, 10 is 10 x 10 pixels (VOC2012)."""
    try:
        from defusedxml import DefusedXmlException
        from defusedxml.ElementTree import parse
    except ImportError:
        raise DataError(
            f"{file}: VOC's XML is read by defusedxml, which is not installed: pip install pangu-jax[boxes]"
        ) from None
    try:
        root = parse(file).getroot()
    except (ParseError, DefusedXmlException, ValueError, OSError) as error:
        raise DataError(f"{file} cannot be read as VOC's XML: {str(error)[:80]}") from None
    if root is None or root.tag != "annotation":
        return
    edges, names = [], []
    for thing in root.iter("object"):
        box = thing.find("bndbox")
        corners = [_number(box, name) for name in ("xmin", "ymin", "xmax", "ymax")]
        edges.append((corners[0] - 1, corners[1] - 1, corners[2], corners[3]))
        names.append((thing.findtext("name") or "").strip())
    size = root.find("size")
    side = int(_number(size, "width", 0)), int(_number(size, "height", 0))
    yield file.stem, RawBoxes(edges, names, side=side if min(side) > 0 else None)


def _number(of: Element | None, name: str, otherwise: float = float("nan")) -> float:
    try:
        return float((of.findtext(name) if of is not None else None) or otherwise)
    except ValueError:
        return otherwise


def _of_coco(file: Path) -> Iterator[tuple[str, RawBoxes]]:
    """bbox is left, top, width, height, from 0. Crowds are no boxes of one thing, and left out."""
    try:
        told = json.loads(file.read_text("utf-8"))
    except (ValueError, OSError) as error:
        raise DataError(f"{file} cannot be read as JSON: {str(error)[:80]}") from None
    if not isinstance(told, dict) or not all(key in told for key in ("images", "annotations", "categories")):
        return
    try:
        names = {one["id"]: str(one["name"]) for one in told["categories"]}
        if len(names) < len(told["categories"]):
            raise DataError(f"{file}: two categories have one id; number them anew")
        of: dict[Any, tuple[list, list]] = {one["id"]: ([], []) for one in told["images"]}
        for one in told["annotations"]:
            if one.get("iscrowd"):
                continue
            if one["image_id"] not in of:
                raise DataError(f"{file}: a box is of image_id {one['image_id']}, and no image has it")
            left, top, width, height = map(float, one["bbox"])
            edges, labels = of[one["image_id"]]
            edges.append((left, top, left + width, top + height))
            labels.append(names.get(one["category_id"], f"category {one['category_id']}"))
        for one in told["images"]:
            group = next((str(one[key]) for key in GROUPS if one.get(key) is not None), None)
            side = int(one.get("width") or 0), int(one.get("height") or 0)
            yield str(one["file_name"]), RawBoxes(*of[one["id"]], group, side if min(side) > 0 else None)
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{file} is not COCO's form: {type(error).__name__} {str(error)[:60]}") from None


def _of_parquet(file: Path) -> Iterator[tuple[str, RawBoxes]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.ParquetFile(file)
        names = table.schema_arrow.names
        boxes, labels, group, width, height = (
            _first(names, usual) for usual in (BOXES, LABELS, GROUPS, ("width",), ("height",))
        )
        if boxes is None or labels is None:
            return
        columns = [name for name in (boxes, labels, group, width, height) if name]
        number = 0
        for batch in table.iter_batches(4096, columns=columns):
            for row in batch.to_pylist():
                side = (row[width], row[height]) if width and height and row[width] and row[height] else None
                own = None if group is None or row[group] is None else str(row[group])
                yield (
                    f"{file.name}:{number}",
                    RawBoxes(row[boxes] or (), list(map(str, row[labels] or ())), own, side),
                )
                number += 1
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, OSError) as error:
        raise DataError(f"{file} cannot be read as Parquet: {str(error).splitlines()[0][:100]}") from None


def _first(names: Sequence[str], usual: Sequence[str]) -> str | None:
    return next((name for wanted in usual for name in names if name.lower() == wanted), None)


_READERS = {".xml": _of_voc, ".json": _of_coco, ".parquet": _of_parquet}
