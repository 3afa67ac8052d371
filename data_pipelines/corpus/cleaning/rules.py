"""What a rule of cleaning is: an edit, which changes texts, or a filter, which rejects documents.

Rules are frozen dataclasses of settings: two equal ones do the same, and they travel to workers. Their names
appear in statistics and reports. What a rule makes of a document never depends on other documents.
"""

import abc
from collections.abc import Mapping
from types import MappingProxyType
from typing import ClassVar, NamedTuple

import gin
import numpy as np
import polars as pl

from data_pipelines.corpus.cleaning.batch import Batch

# Edges of the histogram of a share.
SHARES = tuple(i / 20 for i in range(21))


class Histogram(NamedTuple):
    """In statistics, `name`: documents by what a filter measured. The outer counts hold what is beyond."""

    name: str
    edges: tuple[float, ...]


class Edited(NamedTuple):
    """The batch after an edit, and how many changes of each kind it made: {kind: int64 [documents]}."""

    batch: Batch
    changes: dict[str, np.ndarray]


class Verdict(NamedTuple):
    """What a filter says: keep, bool [documents]; value, float64 [documents], what it measured.

    counts: {name: int64 [documents]}, what else it counted.
    """

    keep: np.ndarray
    value: np.ndarray
    counts: Mapping[str, np.ndarray] = MappingProxyType({})


class _Rule(abc.ABC):
    """What edits and filters have in common."""

    @property
    @abc.abstractmethod
    def name(self) -> str: ...

    # Whether it pays to drop the documents that are rejected already before this rule looks.
    costly: ClassVar[bool] = False


class Edit(_Rule):
    """A rule from text to text."""

    costly: ClassVar[bool] = True
    # Whether samples of rejected documents are edited too, because a report may not show what this removes.
    private: ClassVar[bool] = False

    @abc.abstractmethod
    def edit(self, batch: Batch) -> Edited: ...


class Filter(_Rule):
    """A rule that keeps or rejects."""

    histogram: ClassVar[Histogram | None] = None

    @property
    def limit(self) -> str:
        """Its threshold in words, for messages; "" where it has none."""
        for name in ("least", "most"):
            if (value := getattr(self, name, None)) is not None:
                return f"at {name} {value:g}"
        return ""

    @abc.abstractmethod
    def judge(self, batch: Batch) -> Verdict: ...

    def shown(self, texts: pl.Series) -> pl.Series:
        """Samples of documents it rejected, as a report may show them."""
        return texts


Rule = Edit | Filter

# Makes a rule known to gin by the name of its class; what gin binds holds wherever rules are made.
configurable = gin.configurable(module="data_pipelines.corpus.cleaning")
