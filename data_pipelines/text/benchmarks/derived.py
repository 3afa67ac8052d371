"""Splits that nobody publishes: a published one without what leaks, or with combinations held out."""

import dataclasses
import hashlib
import itertools
from collections.abc import Mapping, Sequence
from typing import Protocol

from data_pipelines.text.benchmarks.examples import JOINED, Example


class Rule(Protocol):
    """Makes a split of others: `needs` names them."""

    @property
    def needs(self) -> tuple[str, ...]: ...

    def __call__(self, splits: Mapping[str, Sequence[Example]]) -> list[Example]: ...


@dataclasses.dataclass(frozen=True)
class Without:
    """`of` without the examples whose `field` is also in a split of `others`.

    The text is compared as it is. What also differs in punctuation is a matter of the pretraining text, from
    which `unlabelled` removes it.
    """

    of: str
    others: tuple[str, ...]
    field: str

    @property
    def needs(self) -> tuple[str, ...]:
        return (self.of, *self.others)

    def __call__(self, splits: Mapping[str, Sequence[Example]]) -> list[Example]:
        seen = {example.fields[self.field] for other in self.others for example in splits[other]}
        return [example for example in splits[self.of] if example.fields[self.field] not in seen]


@dataclasses.dataclass(frozen=True)
class SplitShare:
    """A share of `of`, for sets without splits: texts whose hash is in [begin, end), in percent."""

    of: str
    begin: int
    end: int
    field: str = "text"

    @property
    def needs(self) -> tuple[str, ...]:
        return (self.of,)

    def __call__(self, splits: Mapping[str, Sequence[Example]]) -> list[Example]:
        return [e for e in splits[self.of] if self.begin <= _percent(e.fields[self.field]) < self.end]


@dataclasses.dataclass(frozen=True)
class Pairs:
    """Examples of `of` with a held out pair of intents (`new`), or with none.

    Which pairs are held out depends on their names alone, so it is the same in every split: those with a hash
    below `percent`. A model that trained on "seen" has met every intent, and no held out pair together.
    """

    of: str
    new: bool
    percent: int = 20

    @property
    def needs(self) -> tuple[str, ...]:
        return (self.of,)

    def __call__(self, splits: Mapping[str, Sequence[Example]]) -> list[Example]:
        return [e for e in splits[self.of] if self._has_held_out(e.label or "") == self.new]

    def _has_held_out(self, label: str) -> bool:
        pairs = itertools.combinations(sorted(label.split(JOINED)), 2)
        return any(_percent(JOINED.join(pair)) < self.percent for pair in pairs)


@dataclasses.dataclass(frozen=True)
class AtLeast:
    """Examples of `of` whose `field`, a number, is at least `least`: LCSTS is tested on scores from 3 up."""

    of: str
    field: str
    least: float

    @property
    def needs(self) -> tuple[str, ...]:
        return (self.of,)

    def __call__(self, splits: Mapping[str, Sequence[Example]]) -> list[Example]:
        return [e for e in splits[self.of] if float(e.fields[self.field] or "-inf") >= self.least]


def _percent(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest()) % 100


RULES: Mapping[str, type] = {"without": Without, "part": SplitShare, "pairs": Pairs, "at_least": AtLeast}
