"""Puts the shards of `writing.py` together into the dataset.

    dataset/<name>/1.0.0/<name>-train.array_record-00000-of-00012, ..., dataset_info.json, features.json
    dataset/<name>/parquet/train-00000-of-00012.parquet
    dataset/mixture.json    sources, their sizes and their shares of the mixture
    dataset/SHA256SUMS      of every file above; `sha256sum -c` checks them

Validation splits are written here: they are small. Nothing depends on the time or on who wrote what.
"""

import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl

from data_pipelines import array_records
from data_pipelines.corpus import frames, mixture_weights, records
from data_pipelines.corpus.mixture_weights import MIXTURE, SUMS
from data_pipelines.corpus.writing import (
    SHARD,
    TOTALS,
    VALIDATION,
    Writing,
    dataset_name,
    parquet_name,
    sha256,
    write_parquet,
)

PARQUET = "parquet"

Shards = list[tuple[Path, dict]]  # folders and what `write_shard` says of them


def finish_dataset(shards: Sequence[Path], settings: Writing, out: Path) -> dict:
    """Puts shards together into the dataset `out`: names, validation splits, TFDS metadata, mixture and sums.

    Args:
      shards: the folders that `write_shard` filled, in the order of `assign`. Files are linked where the file
        system has links, else copied.

    Returns:
      the content of mixture.json: {"temperature", "weights", "validation_fraction", "sources": {source:
      {"name", "documents", "bytes", "validation_documents", "validation_bytes", "shards", "stored_bytes",
      "share", "epochs"}}}. Documents and bytes of text are those of the train split.

    Raises:
      DataError: weights for a source that the corpus has not.
    """
    by_source: dict[str, Shards] = {}
    for folder in shards:
        facts = json.loads((folder / SHARD).read_text("utf-8"))
        by_source.setdefault(facts["source"], []).append((folder, facts))
    sums: dict[str, str] = {}
    sources = {source: _finish_source(source, own, settings, out, sums) for source, own in by_source.items()}
    sizes = {source: facts["bytes"] for source, facts in sources.items()}
    share = mixture_weights.shares(sizes, settings.weights, settings.temperature, "Writing")
    epochs = mixture_weights.epochs(sizes, share)
    for source, facts in sources.items():
        facts |= {"share": share[source], "epochs": epochs[source]}
    mixture = {
        "temperature": settings.temperature if settings.weights is None else None,
        "weights": settings.weights if settings.weights is None else dict(settings.weights),
        "validation_fraction": settings.validation_fraction,
        "sources": sources,
    }
    (out / MIXTURE).write_text(json.dumps(mixture, ensure_ascii=False, indent=1), "utf-8")
    sums[MIXTURE] = sha256(out / MIXTURE)
    (out / SUMS).write_text("".join(f"{sums[file]}  {file}\n" for file in sorted(sums)), "utf-8")
    return mixture


def _finish_source(
    source: str, shards: Shards, settings: Writing, out: Path, sums: dict[str, str]
) -> dict[str, Any]:
    name = dataset_name(source)
    folder, parquet = out / name / array_records.VERSION, out / name / PARQUET
    for made in (folder, parquet) if settings.parquet else (folder,):
        made.mkdir(parents=True)
    for path, facts in shards:
        for file, digest in facts["files"].items():
            place = (parquet if file.endswith(".parquet") else folder) / file
            _link(path / file, place)
            sums[str(place.relative_to(out))] = digest
    written = [facts["records"] for _, facts in shards]
    splits = {
        "train": ([count for count, _ in written], sum(size for _, size in written)),
        "validation": _write_validation(name, shards, settings, out),
    }
    # TFDS cannot open a split without records.
    splits = {split: (lengths, size) for split, (lengths, size) in splits.items() if any(lengths)}
    array_records.write_metadata(folder, name, records.features(), splits)
    for path in sorted((out / name).glob("*/*")):
        if (file := str(path.relative_to(out))) not in sums:
            sums[file] = sha256(path)
    totals = {key: sum(facts[key] for _, facts in shards) for key in TOTALS}
    stored = sum(path.stat().st_size for path in folder.iterdir())
    return {"name": name, **totals, "shards": len(shards), "stored_bytes": stored}


def _write_validation(name: str, shards: Shards, settings: Writing, out: Path) -> tuple[list[int], int]:
    """The validation split of all shards; gives the records of each of its own, and the bytes of all."""
    held = [(path, facts["validation_bytes"]) for path, facts in shards if facts["validation_documents"]]
    groups: dict[int, list[Path]] = {}
    before = 0
    for path, size in held:
        groups.setdefault(before // settings.shard_bytes, []).append(path / VALIDATION)
        before += size
    lengths, total = [], 0
    for index, paths in enumerate(groups.values()):
        folder = out / name / array_records.VERSION
        place = array_records.shard_path(folder, name, "validation", index, len(groups))
        made = (record for table in map(frames.read, paths) for record in records.examples(table))
        count, size = array_records.write_shard(place, made, settings.options)
        if settings.parquet:
            tables = pl.concat(map(frames.read, paths))
            write_parquet(tables, out / name / PARQUET / parquet_name("validation", index, len(groups)))
        lengths.append(count)
        total += size
    return lengths, total


def _link(source: Path, place: Path) -> None:
    try:
        os.link(source, place)
    except OSError:
        shutil.copyfile(source, place)
