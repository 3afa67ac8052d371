"""Which documents are documents: not blank, not too long, and text."""

import polars as pl

from data_pipelines.corpus.reading import encodings
from data_pipelines.corpus.reading.quarantine import Quarantine
from data_pipelines.corpus.reading.settings import Reading


def accepted(
    frame: pl.DataFrame, settings: Reading, quarantine: Quarantine, maybe_bad: bool = True
) -> pl.DataFrame:
    """`frame` (frames.SCHEMA) with white space stripped from the ends of texts, less what is no document.

    Args:
      maybe_bad: False when it is known that there are no control characters.
    """
    frame = frame.with_columns(pl.col("text").str.strip_chars())
    size = pl.col("text").str.len_bytes()
    tests = [(size > settings.max_document_bytes).alias("long"), (size == 0).alias("blank")]
    if maybe_bad:
        tests.append((encodings.bad_share(pl.col("text")) > settings.max_bad).alias("bad"))
    found = frame.select(tests)
    if not any(column.any() for column in found):
        return frame
    quarantine.noted["blank documents"] += int(found["blank"].sum())
    limit = f"longer than Reading.max_document_bytes: {settings.max_document_bytes}"
    for test, reason in ("long", limit), ("bad", "not text: control characters"):
        if test in found.columns:
            for name, text in frame.filter(found[test]).select("id", "text").iter_rows():
                file, _, where = name.rpartition(":")
                quarantine.add(file, where, reason, text)
    return frame.filter(~found.select(pl.any_horizontal(pl.all())).to_series())
