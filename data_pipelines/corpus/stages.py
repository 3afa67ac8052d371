"""Stage functions that tie a kernel of the factory to files; the others are beside their kernels."""

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import polars as pl

from data_pipelines.corpus import dedup, engine, frames, rejected
from data_pipelines.corpus.reading import reader
from data_pipelines.corpus.reading.quarantine import Quarantine
from data_pipelines.corpus.reading.settings import Reading
from data_pipelines.corpus.reading.units import Unit

QUARANTINE = "quarantine.jsonl"
_KEPT = 1000  # entries of a unit's quarantine


def read(unit: Unit, settings: Reading, *, out: Path) -> dict:
    """Reads a unit into chunk-0000.arrow, ...; the statistics say what is in each."""
    quarantine = Quarantine(kept=_KEPT)
    sizes = []
    for number, frame in enumerate(reader.read(unit, settings, quarantine)):
        frames.write(frame, out / f"chunk-{number:04d}.arrow")
        sizes.append(_sizes(frame))
    quarantine.write(out / QUARANTINE)
    documents, size = (sum(chunk[name] for chunk in sizes) for name in ("documents", "bytes"))
    sources: dict[str, Counter[str]] = {}
    for chunk in sizes:
        for source, (count, held) in chunk["sources"].items():
            sources.setdefault(source, Counter()).update(documents_out=count, bytes_out=held)
    return {
        "documents_out": documents,
        "bytes_out": size,
        "stored_bytes": unit.size,
        "sources": sources,
        "chunks": sizes,
        "quarantined": dict(quarantine.counts),
        "noted": dict(quarantine.noted),
    }


def deduplicate(documents: Path, number: int, clustered: Path, repeats: Sequence[Path], *, out: Path) -> dict:
    """A chunk without duplicates, and samples of what went."""
    frame = frames.read(documents)
    kept, statistics = dedup.apply(frame, number, clustered, repeats)
    frames.write(kept, out / frames.DOCUMENTS)
    gone = frame.join(kept, "id", how="anti", maintain_order="left")
    frames.write(rejected.sampled(gone.with_columns(rule=pl.lit("duplicate"))), out / rejected.FILE)
    return statistics


def _sizes(frame: pl.DataFrame) -> dict:
    each = frame.group_by("source").agg(pl.len(), pl.col("text").str.len_bytes().sum().alias("bytes"))
    sources = {source: [count, int(size)] for source, count, size in sorted(each.rows())}
    return {"documents": len(frame), "bytes": frames.text_bytes(frame), "sources": sources}


def chunk_files(read: Path) -> list[Path]:
    """The chunks of a unit that was read, in order."""
    count = len(json.loads((read / engine.STATS).read_text("utf-8"))["chunks"])
    return [read / f"chunk-{number:04d}.arrow" for number in range(count)]
