"""Filters that count characters of the whole text."""

import dataclasses
from typing import ClassVar

import numpy as np

from data_pipelines.corpus.cleaning import characters
from data_pipelines.corpus.cleaning.batch import Batch
from data_pipelines.corpus.cleaning.rules import SHARES, Filter, Histogram, Verdict, configurable
from data_pipelines.corpus.cleaning.sums import ratio
from data_pipelines.corpus.spans import Spans


@configurable
@dataclasses.dataclass(frozen=True)
class TooLong(Filter):
    """Rejects documents of more than `most` characters, which would need memory without bound.

    Measures characters. Cleaning takes some 250 bytes of memory per character of the longest document. Put
    first, where this costs nothing.
    """

    most: int = 3_000_000
    name: str = "too_long"

    @property
    def limit(self) -> str:
        return f"{self.most} characters"

    def judge(self, batch: Batch) -> Verdict:
        return Verdict(batch.lengths <= self.most, batch.lengths.astype(np.float64))


@configurable
@dataclasses.dataclass(frozen=True)
class TooShort(Filter):
    """Rejects documents of less than `least` characters, spaces included. Measures characters.

    PanGu-alpha (arXiv 2104.12369, section 3.1) drops those under 150.
    """

    least: int = 150
    name: str = "too_short"
    histogram: ClassVar = Histogram("length", (0, *(round(10 ** (i / 4)) for i in range(4, 29))))

    @property
    def limit(self) -> str:
        return f"{self.least} characters"

    def judge(self, batch: Batch) -> Verdict:
        return Verdict(batch.lengths >= self.least, batch.lengths.astype(np.float64))


@configurable
@dataclasses.dataclass(frozen=True)
class HanRatio(Filter):
    """Rejects documents with a smaller share of Han characters than `least`. Measures the share.

    It is that of all characters but white space: Chinese prose has 0.85 to 0.92, the rest is punctuation.
    PanGu- alpha drops documents with less than 60% Chinese characters.
    """

    least: float = 0.6
    name: str = "han_ratio"
    histogram: ClassVar = Histogram("han_ratio", SHARES)

    def judge(self, batch: Batch) -> Verdict:
        visible = batch.lengths - batch.count(characters.SPACE)
        share = ratio(batch.count(characters.HAN), visible)
        return Verdict(share >= self.least, share)


@configurable
@dataclasses.dataclass(frozen=True)
class AlphanumericRatio(Filter):
    """Rejects documents with a smaller share of letters (Han among them) and digits than `least`.

    Measures the share of all characters, as Data-Juicer's alphanumeric_filter does; its recipes for Chinese
    set 0.10.
    """

    least: float = 0.1
    name: str = "alphanumeric_ratio"

    def judge(self, batch: Batch) -> Verdict:
        share = ratio(batch.count(characters.ALNUM), batch.lengths)
        return Verdict(share >= self.least, share)


@configurable
@dataclasses.dataclass(frozen=True)
class CharacterRepetition(Filter):
    """Rejects documents in which few strings of `length` characters make up more than `most` of all.

    Measures, as Data-Juicer's character_repetition_filter and ROOTS (arXiv 2303.03915) do: of n
    distinct strings, the sqrt(n) most frequent (at most those that repeat) by the share of all places where
    one begins. For documents that cannot exceed `most`, the share of repeated strings, which is no less.
    """

    length: int = 10
    most: float = 0.6
    name: str = "character_repetition"

    def judge(self, batch: Batch) -> Verdict:
        begins = batch.starts[:-1]
        ends = np.maximum(batch.starts[1:] - self.length + 1, begins)
        keys = _weak_hashes(batch.codes, self.length)
        value = np.zeros(len(batch))
        for document, (begin, end) in enumerate(zip(begins.tolist(), ends.tolist(), strict=True)):
            own = keys[begin:end]
            own.sort()
            # Strings that equal the one before, and at most as many that equal only the one behind.
            value[document] = 2 * np.count_nonzero(own[1:] == own[:-1]) / max(end - begin, 1)
        value = np.minimum(value, 1.0)
        for document in np.flatnonzero((value > self.most) & batch.alive):
            hashes = Spans(batch.codes[begins[document] : batch.starts[document + 1]]).every(self.length)
            _, counts = np.unique(hashes, return_counts=True)
            most = np.sort(counts)[::-1]
            few = min(int(np.sqrt(len(most))), (most > 1).sum())
            value[document] = most[:few].sum() / max(len(hashes), 1)
        return Verdict(value <= self.most, value)


def _weak_hashes(codes: np.ndarray, length: int) -> np.ndarray:
    """uint32: of the `length` characters from each one on. Equal strings have equal ones, others seldom.

    32 bits sort twice as fast as 64, and what they confuse only raises a bound.
    """
    hashes, done = codes * np.uint32(0x9E3779B1), 1
    while done < length:
        step = min(done, length - done)
        hashes = hashes[: len(hashes) - step] * np.uint32(0x85EBCA6B) ^ hashes[step:]
        hashes ^= hashes >> np.uint32(15)
        done += step
    return hashes
