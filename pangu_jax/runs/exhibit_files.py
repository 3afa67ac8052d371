"""What a finished run shows, kept in its directory: samples.json, exhibits.json and exhibits/NAME.png."""

import dataclasses
import io
import json
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pangu_jax.errors import UserError
from pangu_jax.runs.json_files import read_json
from pangu_jax.runs.run_directory import RunDirectory, write_atomically
from pangu_jax.workloads.exhibits import Exhibit, Image, Table, Text

LARGEST_SIDE = 1024  # pixels of a picture that is kept; larger ones are scaled down
LONGEST_NAME = 40  # characters of a title in a file's name


class Picture(NamedTuple):
    """A picture of a run directory.

    Attributes:
      title: said above it.
      path: of the PNG.
    """

    title: str
    path: Path


@dataclasses.dataclass(frozen=True)
class Exhibits:
    """What a run directory shows, by kind."""

    texts: list[Text] = dataclasses.field(default_factory=list)
    pictures: list[Picture] = dataclasses.field(default_factory=list)
    tables: list[Table] = dataclasses.field(default_factory=list)


def write(directory: RunDirectory, exhibits: Sequence[Exhibit]) -> None:
    """Keep what a run shows in place of what it showed before; without exhibits everything stays as it is.

    Raises:
      UserError: it cannot be written.
    """
    texts = [dataclasses.asdict(exhibit) for exhibit in exhibits if isinstance(exhibit, Text)]
    if texts:
        _write_json(directory.samples, texts)
    pictures = [exhibit for exhibit in exhibits if isinstance(exhibit, Image)]
    tables = [exhibit for exhibit in exhibits if isinstance(exhibit, Table)]
    if not pictures and not tables:
        return
    files = _write_pictures(directory.pictures, pictures)
    content = {
        "pictures": [
            {"title": picture.title, "file": file} for picture, file in zip(pictures, files, strict=True)
        ],
        "tables": [
            {
                "title": table.title,
                "headings": list(table.headings),
                "rows": [[_plain(value) for value in row] for row in table.rows],
            }
            for table in tables
        ],
    }
    _write_json(directory.exhibits, content)
    for file in directory.pictures.iterdir() if directory.pictures.is_dir() else ():
        if file.name not in files and file.suffix in (".png", ".partial"):
            file.unlink()


def read(directory: RunDirectory) -> Exhibits:
    """What a run directory shows; empty kinds where there is nothing, and pictures that are still there.

    Raises:
      UserError: a file is damaged.
    """
    texts = [
        Text(**{one.name: str(text.get(one.name) or "") for one in dataclasses.fields(Text)})
        for text in read_json(directory.samples, [])
        if isinstance(text, dict)
    ]
    kept = read_json(directory.exhibits, {})
    try:
        pictures = [
            # The name alone: a directory that was sent by somebody shows no file of the reader's.
            Picture(str(picture["title"]), directory.pictures / Path(picture["file"]).name)
            for picture in kept.get("pictures", [])
        ]
        tables = [
            Table(
                str(table["title"]),
                [str(name) for name in table["headings"]],
                [[_cell(value) for value in row] for row in table["rows"]],
            )
            for table in kept.get("tables", [])
        ]
    except (KeyError, TypeError, AttributeError):
        raise UserError(
            f"{directory.exhibits} is damaged: a picture or table lacks a part; delete it"
        ) from None
    return Exhibits(texts, [picture for picture in pictures if picture.path.is_file()], tables)


def png(pixels_HxWxC: np.ndarray) -> bytes:
    """A file of an `Image`'s pixels, scaled down to `LARGEST_SIDE` where it is larger."""
    from PIL import Image as PillowImage  # 0.1 s, and most readers of a run directory do without

    grey = pixels_HxWxC.shape[2] == 1
    image = PillowImage.fromarray(pixels_HxWxC[..., 0] if grey else pixels_HxWxC)
    image.thumbnail((LARGEST_SIDE, LARGEST_SIDE))  # never enlarges
    stream = io.BytesIO()
    image.save(stream, "PNG", optimize=True)
    return stream.getvalue()


def _write_pictures(folder: Path, pictures: Sequence[Image]) -> list[str]:
    if pictures:
        try:
            folder.mkdir(exist_ok=True)
        except OSError as error:
            raise UserError(
                f"cannot write {folder}: {error.strerror}; fix the disk and run the same command again"
            ) from None
    names = []
    for number, picture in enumerate(pictures, start=1):
        words = re.sub(r"[^\w]+", "-", picture.title).strip("-")[:LONGEST_NAME]
        names.append(f"{number:03d}-{words}.png" if words else f"{number:03d}.png")
        write_atomically(folder / names[-1], png(picture.pixels_HxWxC))
    return names


def _cell(value: Any) -> str | int | float | None:
    return value if value is None or isinstance(value, str | int | float) else str(value)


def _write_json(path: Path, content: Any) -> None:
    write_atomically(path, json.dumps(content, ensure_ascii=False, indent=1, allow_nan=False) + "\n")


def _plain(value: Any) -> str | int | float | None:
    """Of NumPy and JAX too; what is not finite has no JSON."""
    value = value.item() if hasattr(value, "item") else value
    return None if isinstance(value, float) and not math.isfinite(value) else value
