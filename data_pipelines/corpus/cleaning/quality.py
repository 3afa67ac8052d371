"""A quality score: a linear classifier over hashed character n-grams, which `quality_training` trains."""

import dataclasses
import functools
import zipfile
from pathlib import Path
from typing import ClassVar

import numpy as np

from data_pipelines.corpus.cleaning.batch import Batch
from data_pipelines.corpus.cleaning.rules import SHARES, Filter, Histogram, Verdict, configurable
from data_pipelines.corpus.cleaning.sums import ratio
from data_pipelines.corpus.spans import mixed
from data_pipelines.errors import DataError

# Raise it when features change, so that weights of older ones are not used.
VERSION = 1
# Scores are sums of integers, so that they do not depend on the order of addition.
_ONE = 2**24


@dataclasses.dataclass(frozen=True)
class Features:
    """What the classifier sees: the share of a document's character n-grams in each of 2^bits hash buckets.

    Attributes:
      lengths: n.
      characters: so many of the beginning of a document are looked at.
    """

    lengths: tuple[int, ...] = (1, 2, 3)
    bits: int = 18
    characters: int = 4000

    def head(self, batch: Batch) -> Batch:
        """The beginnings of the documents."""
        if (batch.lengths <= self.characters).all():
            return batch
        within = np.arange(len(batch.codes)) - np.repeat(batch.starts[:-1], batch.lengths) < self.characters
        return Batch.of_codes(batch.codes.compress(within), np.minimum(batch.lengths, self.characters))

    def buckets(self, head: Batch, n: int) -> np.ndarray:
        """int64 [places]: the bucket of the n-gram that begins at each character that has n - 1 behind it."""
        hashes = mixed(head.spans.every(n) + np.uint64(n))
        return (hashes >> np.uint64(64 - self.bits)).astype(np.int64)

    def ends(self, head: Batch, n: int) -> np.ndarray:
        """int64 [documents]: the n-grams of document d begin at head.starts[d] .. ends[d] - 1."""
        return head.starts[:-1] + np.maximum(head.lengths - n + 1, 0)


@dataclasses.dataclass(frozen=True)
class QualityClassifier:
    """A trained classifier: P(good) = 1 / (1 + exp(-bias - sum over n-grams of weight[bucket] / n-grams))."""

    features: Features
    weight: np.ndarray  # float32 [2^bits]
    bias: float

    @functools.cached_property
    def integers(self) -> np.ndarray:
        """int64 [2^bits]: weights in units of 2^-24."""
        return np.rint(self.weight.astype(np.float64) * _ONE).astype(np.int64)

    def save(self, path: str | Path) -> None:
        """As .npz, without pickle."""
        np.savez_compressed(
            path,
            version=VERSION,
            lengths=np.array(self.features.lengths, np.int64),
            bits=self.features.bits,
            characters=self.features.characters,
            weight=self.weight.astype(np.float32),
            bias=np.float64(self.bias),
        )

    @classmethod
    def load(cls, path: str) -> "QualityClassifier":
        """Raises DataError: no such weights."""
        again = "train them with data_pipelines.corpus.cleaning.train_quality"
        try:
            with np.load(path, allow_pickle=False) as file:
                if int(file["version"]) != VERSION:
                    raise DataError(f"Quality.weights: {path} has version {int(file['version'])}: {again}")
                features = Features(
                    tuple(file["lengths"].tolist()), int(file["bits"]), int(file["characters"])
                )
                weight, bias = file["weight"], float(file["bias"])
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise DataError(f"Quality.weights: cannot read {path} ({error}): {again}") from None
        if weight.shape != (2**features.bits,):
            raise DataError(
                f"Quality.weights: {path} has {weight.shape} weights for {features.bits} bits: {again}"
            )
        return cls(features, weight, bias)


@configurable
@dataclasses.dataclass(frozen=True)
class Quality(Filter):
    """Rejects documents that a classifier gives a score below `least`. Measures the score, a probability.

    Args:
      weights: a file of `train_quality`.
      least: 0.5 is as likely good as bad.

    Raises:
      DataError: the file is missing or no such weights.
    """

    weights: str
    least: float = 0.5
    name: str = "quality"
    histogram: ClassVar = Histogram("quality_score", SHARES)

    def __post_init__(self) -> None:
        _load(self.weights)

    def judge(self, batch: Batch) -> Verdict:
        value = score(batch, _load(self.weights))
        return Verdict(value >= self.least, value)


@functools.lru_cache(maxsize=4)
def _load(path: str) -> QualityClassifier:
    return QualityClassifier.load(path)


def score(batch: Batch, weights: QualityClassifier) -> np.ndarray:
    """float64 [documents], in (0, 1); a document without characters has that of the bias."""
    head = weights.features.head(batch)
    total, count = np.zeros(len(batch), np.int64), np.zeros(len(batch), np.int64)
    for n in weights.features.lengths:
        terms = weights.integers[weights.features.buckets(head, n)]
        prefix = np.concatenate(([0], np.cumsum(terms)))
        begins, ends = head.starts[:-1], weights.features.ends(head, n)
        filled = ends > begins
        total[filled] += prefix[ends[filled]] - prefix[begins[filled]]
        count += ends - begins
    logit = weights.bias + ratio(total, count) / _ONE
    return 1 / (1 + np.exp(-np.clip(logit, -500, 500)))
