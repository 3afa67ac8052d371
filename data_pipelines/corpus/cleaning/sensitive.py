"""Rejects documents with words of a list that only its owner knows."""

import dataclasses
import functools
import hashlib
from pathlib import Path

import numpy as np
import polars as pl

from data_pipelines.corpus.cleaning.batch import Batch
from data_pipelines.corpus.cleaning.rules import Filter, Verdict, configurable
from data_pipelines.errors import DataError


@configurable
@dataclasses.dataclass(frozen=True)
class SensitiveWords(Filter):
    """Rejects documents in which words of a list occur more than `most` times. Measures occurrences.

    PanGu-alpha (arXiv 2104.12369, section 3.1): more than three hits of 724 words. Where words overlap, the
    first and longest counts. The words never reach statistics or reports: counted is a hash of each, and
    samples show ■.

    Args:
      path: a UTF-8 file, a word per line.
      salt: hashed with every word, so that nobody can look up hashes of common words.

    Raises:
      DataError: the file cannot be read or is empty.
    """

    path: str
    most: int = 3
    salt: str = dataclasses.field(default="", repr=False)
    name: str = "sensitive_words"

    def __post_init__(self) -> None:
        _words(self.path)

    def judge(self, batch: Batch) -> Verdict:
        words = _words(self.path)
        found = batch.texts.str.extract_many(words, leftmost=True)
        value = found.list.len().to_numpy().astype(np.float64)
        hits = pl.DataFrame({"document": np.arange(len(batch)), "word": found}).explode("word")
        counts = {}
        for (word,), own in hits.drop_nulls("word").group_by("word", maintain_order=True):
            counts[self.hashed(word)] = np.bincount(own["document"].to_numpy(), minlength=len(batch))
        return Verdict(value <= self.most, value, counts)

    def hashed(self, word: str) -> str:
        """64 bits in hexadecimal, by which statistics count a word."""
        return hashlib.blake2b(word.encode(), key=self.salt.encode()[:64], digest_size=8).hexdigest()

    def shown(self, texts: pl.Series) -> pl.Series:
        return texts.str.replace_many(_words(self.path), ["■"], leftmost=True)


@functools.cache
def _words(path: str) -> list[str]:
    """Longest first: where several begin at one place, the first of the list is taken."""
    try:
        lines = Path(path).read_text("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"SensitiveWords.path: cannot read {path}: {error}; give a UTF-8 file, a word per line"
        ) from None
    words = sorted({line.strip() for line in lines} - {""}, key=lambda word: (-len(word), word))
    if not words:
        raise DataError(f"SensitiveWords.path: {path} has no words; give a UTF-8 file, a word per line")
    return words
