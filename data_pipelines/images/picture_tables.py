"""Pictures in tables: Parquet as the hubs write it, .csv and .tsv of paths, datasets of TFDS."""

import csv
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from data_pipelines.errors import DataError
from data_pipelines.images.picture import LARGEST, TOO_LARGE, BrokenSource, Fields, PictureFile
from data_pipelines.images.splitting import told

IMAGES = ("image", "img", "picture", "photo", "file", "file_name", "filename", "path", "filepath")
LABELS = ("label", "labels", "class", "category", "fine_label", "target")
GROUPS = ("group", "group_id", "flight")
ROWS = 512  # of a Parquet file that are held at once


def of_file(path: Path, before: str, fields: Fields, skipped: Counter[str]) -> Iterator[PictureFile]:
    """The pictures of a table, `before` at the beginning of their names.

    Raises:
      BrokenSource: it cannot be read.
      DataError: it has no such column, or names files that are not there or not under its folder.
    """
    of = _of_parquet if path.suffix.lower() == ".parquet" else _of_paths
    for number, (data, label, group) in enumerate(of(path, fields)):
        if isinstance(data, Path):
            if data.stat().st_size > LARGEST:
                skipped[TOO_LARGE] += 1
                continue
            data = data.read_bytes()
        name = f"{before or f'{path.name}:'}{number}"
        if isinstance(label, list):  # of boxes in it, and no class of the picture
            label = None
        yield PictureFile(
            name, data, None if label is None else str(label), None if group is None else str(group)
        )


def of_tfds(name: str, fields: Fields) -> Iterator[PictureFile]:
    """The pictures of a dataset that TFDS has prepared in $TFDS_DATA_DIR, all its splits; encoded as PNG.

    Raises:
      DataError: there is none of this name.
    """
    import tensorflow_datasets as tfds

    from data_pipelines.images.decoding import encode_png

    try:
        builder: Any = tfds.builder(name, try_gcs=False)
        splits: dict[str, Any] = builder.as_data_source()
    except Exception as error:  # TFDS raises what it likes
        raise DataError(
            f"images.path: tfds:{name}: {str(error).splitlines()[0][:120].rstrip('.')}; prepare it with "
            "TFDS first, in ArrayRecord"
        ) from None
    known: dict[str, Any] = builder.info.features or {}
    image = _column(list(known), fields.image, IMAGES, f"tfds:{name}", "image")
    label = _column(list(known), fields.label, LABELS, f"tfds:{name}", "label", needed=False)
    names = getattr(known[label], "names", None) if label else None
    for split in sorted(splits):
        for number, row in enumerate(splits[split]):
            value = None if label is None else row[label]
            if isinstance(value, bytes):  # of a text
                value = value.decode("utf-8", "replace") or None
            shown = None if value is None else (names[int(value)] if names else str(value))
            yield PictureFile(f"{name}:{split}:{number}", encode_png(row[image]), shown, side=told(split))


def _of_parquet(path: Path, fields: Fields) -> Iterator[tuple[bytes | Path, Any, Any]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.ParquetFile(path)
        names = table.schema_arrow.names
        image = _column(names, fields.image, IMAGES, path, "image")
        label = _column(names, fields.label, LABELS, path, "label", needed=False)
        group = _column(names, fields.group, GROUPS, path, "group", needed=False)
        classes = _class_names(table.schema_arrow.metadata or {}, label)
        columns = [name for name in (image, label, group) if name]
        for batch in table.iter_batches(ROWS, columns=columns):
            for row in batch.to_pylist():
                value = row[label] if label else None
                if classes and isinstance(value, int) and 0 <= value < len(classes):
                    value = classes[value]
                yield _content(row[image], path), value, row[group] if group else None
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, OSError) as error:
        raise BrokenSource(f"{path} cannot be read as Parquet: {str(error).splitlines()[0][:100]}") from None


def _content(value: Any, table: Path) -> bytes | Path:
    """Bytes as they are, of {bytes, path} the bytes or the file; empty where there is nothing."""
    if isinstance(value, dict):
        data, path = value.get("bytes"), value.get("path")
        return data if data is not None else _file(table, path) if path else b""
    return _file(table, value) if isinstance(value, str) else value or b""


def _class_names(metadata: dict[bytes, bytes], label: str | None) -> Sequence[str]:
    """Names of a class label, as the library `datasets` writes them into a Parquet file."""
    try:
        features = json.loads(metadata[b"huggingface"])["info"]["features"]
        return features[label]["names"] if isinstance(features[label]["names"], list) else ()
    except (KeyError, ValueError, TypeError):
        return ()


def _of_paths(path: Path, fields: Fields) -> Iterator[tuple[bytes | Path, Any, Any]]:
    with path.open(encoding="utf-8-sig", newline="") as stream:
        rows = csv.DictReader(stream, delimiter="\t" if path.suffix.lower() == ".tsv" else ",")
        try:
            names = list(rows.fieldnames or ())
            image = _column(names, fields.image, IMAGES, path, "image")
            label = _column(names, fields.label, LABELS, path, "label", needed=False)
            group = _column(names, fields.group, GROUPS, path, "group", needed=False)
            for number, row in enumerate(rows, 2):
                if not (named := row[image]):
                    raise DataError(f"{path}, row {number}: no path in the column {image!r}")
                found = _file(path, named)
                if not found.is_file():
                    raise DataError(f"{path}, row {number}: there is no {found}")
                yield found, row.get(label or "") or None, row.get(group or "") or None
        except (csv.Error, UnicodeDecodeError) as error:
            raise BrokenSource(
                f"{path} cannot be read as a table: {str(error)[:80]}; write it as UTF-8"
            ) from None


def _file(table: Path, named: str) -> Path:
    """A file that a table names: under the table's folder, wherever that is."""
    folder = table.parent.resolve()
    path = (folder / named).resolve()
    if not path.is_relative_to(folder):
        raise DataError(
            f"{table} names {named[:80]!r}, which is not under its folder {folder}; move it there"
        )
    return path


def _column(
    names: Sequence[str],
    asked: str | None,
    usual: Sequence[str],
    table: str | Path,
    what: str,
    needed: bool = True,
) -> str | None:
    """The column that was asked for, or the first that has a usual name."""
    if asked is not None:
        if asked not in names:
            raise DataError(
                f"{table} has no column {asked!r} (images.{what}_field): {', '.join(names)[:200]}"
            )
        return asked
    found = next((name for wanted in usual for name in names if name.lower() == wanted), None)
    if found is None and needed:
        raise DataError(
            f"{table}: none of its columns is called {what} or alike ({', '.join(names)[:200]}); name it "
            f"with --gin.images.{what}_field"
        )
    return found
