"""Which documents are documents: not blank, not too long, and text."""

import polars as pl

from data_pipelines.corpus.reading.quarantine import Quarantine
from data_pipelines.corpus.reading.settings import Reading

# C0 and C1 controls, the replacement character, and what is no character.
_BAD = r"[\x00-\x08\x0e-\x1f\x7f-\x{9f}\x{fffd}-\x{ffff}]"


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
        tests.append((_bad_share(pl.col("text")) > settings.max_bad).alias("bad"))
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


def _bad_share(texts: pl.Expr) -> pl.Expr:
    """Share of control and replacement characters in each text, f64; 0 of an empty one."""
    return texts.str.count_matches(_BAD) / texts.str.len_chars().clip(1)
