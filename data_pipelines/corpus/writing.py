"""Writes shards of the corpus: ArrayRecord for every source, and Parquet beside it if wanted.

Shards are cut by sizes alone (`assign`), so that any worker may write any of them (`write_shard`);
`finishing.py` makes the dataset of them.
"""

import dataclasses
import hashlib
import itertools
import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import gin
import numpy as np
import polars as pl

from data_pipelines import array_records
from data_pipelines.corpus import frames, letters, mixture_weights, records
from data_pipelines.errors import DataError

# What a shard's folder holds beside its files, and which totals its facts give.
SHARD = "shard.json"
VALIDATION = "validation.arrow"
TOTALS = ("documents", "bytes", "validation_documents", "validation_bytes")
_COMPRESSION = re.compile(r"uncompressed|snappy|(zstd|brotli)(:-?\d+)?")


@dataclasses.dataclass(frozen=True)
class Writing:
    """The form of the corpus.

    Attributes:
      shard_bytes: UTF-8 text per shard, about.
      compression: of ArrayRecord: "zstd:LEVEL", "brotli:LEVEL", "snappy" or "uncompressed".
      parquet: also write Parquet.
      validation_fraction: share of the documents held out, by the rule of `text.documents.split`.
      weights: of the sources in the mixture; None is by size and `temperature`.
      temperature: p_i ~ n_i^(1/T).
      licences: of the sources, for the card.

    Raises:
      DataError: a value that makes no sense.
    """

    shard_bytes: int = 128 * 2**20
    compression: str = "zstd:1"
    parquet: bool = False
    validation_fraction: float = 0.001
    weights: Mapping[str, float] | None = None
    temperature: float = 1.0
    licences: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.shard_bytes < 1:
            raise DataError(f"Writing.shard_bytes {self.shard_bytes} must be at least 1")
        if not _COMPRESSION.fullmatch(self.compression):
            raise DataError(
                f"Writing.compression: {self.compression!r} is none of zstd:LEVEL, brotli:LEVEL, snappy and "
                "uncompressed"
            )
        if not 0 <= self.validation_fraction <= 0.5:
            raise DataError(f"Writing.validation_fraction {self.validation_fraction} must be in [0, 0.5]")
        mixture_weights.check(self.weights, self.temperature, "Writing")

    @property
    def options(self) -> str:
        """Of ArrayRecord. A record is compressed alone: Grain reads them at random."""
        return f"group_size:1,{self.compression}"


gin.external_configurable(Writing, module="data_pipelines.corpus.writing")


@dataclasses.dataclass(frozen=True)
class ChunkRange:
    """Documents [begin, end) of a source in a chunk, counted among those of that source."""

    chunk: Path
    begin: int
    end: int


@dataclasses.dataclass(frozen=True)
class Shard:
    """Shard `index` of `count` of a source: what of which chunks is in it, in order."""

    source: str
    index: int
    count: int
    parts: tuple[ChunkRange, ...]

    @property
    def key(self) -> str:
        """A name for it, in the order of sources and shards."""
        return f"{dataset_name(self.source)}-{self.index:05d}"


def dataset_name(source: str) -> str:
    """A source's name for TFDS and seqio: small letters, digits and _; others get a suffix of their own."""
    if re.fullmatch(r"[a-z][a-z0-9_]*", source):
        return source
    plain = re.sub(r"[^a-z0-9]+", "_", source.lower()).strip("_")
    stem = plain if plain[:1].isalpha() else f"source_{plain}".rstrip("_")
    return f"{stem}_{hashlib.blake2b(source.encode(), digest_size=4).hexdigest()}"


def assign(chunks: Sequence[tuple[Path, Mapping[str, tuple[int, int]]]], settings: Writing) -> list[Shard]:
    """Cuts every source into shards of about `shard_bytes`, its documents in the order of the chunks.

    Where a cut falls inside a chunk, documents of that chunk are taken to be of equal size.

    Args:
      chunks: (file, {source: (documents, bytes)}).

    Raises:
      DataError: `Writing.weights` names a source that the corpus has not.
    """
    held: dict[str, list[tuple[Path, int, int]]] = {}
    for path, sources in chunks:
        for source, (documents, size) in sources.items():
            if documents:
                held.setdefault(source, []).append((path, documents, size))
    sizes = {source: sum(size for _, _, size in own) for source, own in sorted(held.items())}
    mixture_weights.shares(sizes, settings.weights, settings.temperature, "Writing")
    return [shard for source in sorted(held) for shard in _cut(source, held[source], settings.shard_bytes)]


def _cut(source: str, held: Sequence[tuple[Path, int, int]], shard_bytes: int) -> Iterator[Shard]:
    # A document weighs a byte more than its text, so that those without text lie somewhere too.
    weights = np.cumsum([0, *(documents + size for _, documents, size in held)])
    counts = np.cumsum([0, *(documents for _, documents, _ in held)])
    shards = max(round(sum(size for _, _, size in held) / shard_bytes), 1)
    # Shards begin at these documents. Cuts that fall into one document are one.
    cuts = np.interp(np.arange(shards + 1) * (weights[-1] / shards), weights, counts)
    edges = np.unique([0, *cuts.round().astype(int)[1:-1], counts[-1]]).tolist()
    firsts: list[int] = counts.tolist()
    for index, (begin, end) in enumerate(itertools.pairwise(edges)):
        first, last = np.searchsorted(counts, begin, "right") - 1, np.searchsorted(counts, end)
        parts = tuple(
            ChunkRange(held[i][0], max(begin - firsts[i], 0), min(end, firsts[i + 1]) - firsts[i])
            for i in range(first, last)
        )
        yield Shard(source, index, len(edges) - 1, parts)


def write_shard(shard: Shard, settings: Writing, out: Path) -> dict:
    """The stage: writes a shard's train documents into the folder `out` and sets the held out ones aside.

    Returns:
      the statistics of every stage; what is held out counts as written.
    """
    name = dataset_name(shard.source)
    held_out, kept, totals = [records.typed(frames.empty())], [records.typed(frames.empty())], Counter()

    def made() -> Iterator[bytes]:
        for part in shard.parts:
            frame = _read(part, shard.source)
            validation = letters.places(frame["text"]) < settings.validation_fraction
            held_out.append(frame.filter(validation))
            train = frame.filter(~validation)
            totals.update(documents=len(train), bytes=frames.text_bytes(train))
            if settings.parquet:
                kept.append(train)
            yield from records.examples(train)

    path = array_records.shard_path(out, name, "train", shard.index, shard.count)
    count, size = array_records.write_shard(path, made(), settings.options)
    files = {path.name: sha256(path)}
    if settings.parquet:
        path = out / parquet_name("train", shard.index, shard.count)
        write_parquet(pl.concat(kept), path)
        files[path.name] = sha256(path)
    validation = pl.concat(held_out)
    frames.write(validation, out / VALIDATION)
    totals.update(validation_documents=len(validation), validation_bytes=frames.text_bytes(validation))
    facts = {"source": shard.source, "records": [count, size], **totals, "files": files}
    (out / SHARD).write_text(json.dumps(facts, ensure_ascii=False), "utf-8")
    documents = totals["documents"] + totals["validation_documents"]
    written = totals["bytes"] + totals["validation_bytes"]
    counted = dict(documents_in=documents, documents_out=documents, bytes_in=written, bytes_out=written)
    return {**counted, "sources": {shard.source: counted}}


def _read(part: ChunkRange, source: str) -> pl.DataFrame:
    frame = frames.read(part.chunk)
    return records.typed(frame.filter(pl.col("source") == source)[part.begin : part.end])


def parquet_name(split: str, index: int, count: int) -> str:
    return f"{split}-{index:05d}-of-{count:05d}.parquet"


def write_parquet(frame: pl.DataFrame, path: Path) -> None:
    frame.write_parquet(path, compression="zstd", compression_level=3, row_group_size=10_000)


def sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
