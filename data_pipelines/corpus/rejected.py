"""Samples of what a task rejected: enough to see what a rule does, however much it rejects."""

import hashlib

import polars as pl

FILE = "rejected.arrow"
SHOWN = 500  # characters of a document
_SAMPLES = 50  # documents of a rule and task


def sampled(rejected: pl.DataFrame) -> pl.DataFrame:
    """Of each rule at most 50 rows, chosen by a hash of what is shown of them, in their order.

    Args:
      rejected: id, source, rule, text and others.
    """
    shown = rejected.with_columns(pl.col("text").str.slice(0, SHOWN))
    digests = [hashlib.blake2b(text.encode(), digest_size=8).hexdigest() for text in shown["text"]]
    order = pl.struct("digest", "id").rank("ordinal").over("rule")
    return (
        shown.with_columns(digest=pl.Series(digests, dtype=pl.String))
        .filter(order <= _SAMPLES)
        .drop("digest")
    )
