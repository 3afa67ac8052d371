"""A benchmark task: its splits and their examples, and what is won by guessing."""

import dataclasses
import os
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from data_pipelines.errors import DataError
from data_pipelines.text.benchmarks import files, published, readers
from data_pipelines.text.benchmarks.derived import Rule
from data_pipelines.text.benchmarks.examples import JOINED, Example
from data_pipelines.text.benchmarks.patterns import Pattern
from data_pipelines.text.folder import Quarantine

KINDS = ("classification", "choice", "reading", "generation", "intents")


@dataclasses.dataclass(frozen=True)
class BenchmarkTask:
    """A task.

    Attributes:
      name: of the set in `benchmarks.published`, and so where its files lie: "fewclue/eprstmt".
      kind: one of KINDS.
      labels: of a classification, or the single intents; empty where an answer is free or a choice's own.
      names: label to its name in words, the answer where a pattern has no `words` of its own.
      metric: what its owners report.
      patterns: by name.
      reader, fields, label, skip: how its files are read, see `files.File`.
      derived: further splits, by a rule from published ones.
      leaks: what is known to be in two places, for people.
    """

    name: str
    kind: str
    labels: tuple[str, ...]
    names: Mapping[str, str]
    metric: str
    patterns: Mapping[str, Pattern]
    reader: str
    fields: Mapping[str, str]
    label: str
    skip: tuple[str, ...]
    derived: Mapping[str, Rule]
    leaks: str

    @property
    def published(self) -> published.Published:
        return published.SETS[self.name]

    def splits(self, data_dir: str | Path | None = None) -> tuple[str, ...]:
        """Names of the splits that are there, published ones first."""
        data = data_folder(data_dir)
        there = [split for split in self.published.splits if self.published.files(split, data)]
        return (*there, *(split for split, rule in self.derived.items() if set(rule.needs) <= set(there)))

    def examples(
        self, split: str, data_dir: str | Path | None = None, quarantine: Quarantine | None = None
    ) -> list[Example]:
        """All examples of a split, in the order of its files.

        Args:
          data_dir: the data folder; None is $PANGU_DATA_DIR.
          quarantine: gets what is malformed, with file and line; what is passed over on purpose is `noted`.

        Raises:
          DataError: the split or the set is missing, a file cannot be read, or it has an unknown label.
        """
        data = data_folder(data_dir)
        quarantine = quarantine if quarantine is not None else Quarantine()
        if split in self.derived:
            rule = self.derived[split]
            return rule({needed: self.examples(needed, data, quarantine) for needed in rule.needs})
        found = self.published.files(split, data)
        if not found:
            there = self.splits(data)
            hint = f"there are {', '.join(there)}" if there else f"get it from {self.published.owners}"
            raise DataError(f"{self.name}: no split {split!r} in {data}; {hint}")
        examples: list[Example] = []
        for path in found:
            file = files.File(path, quarantine, self.name, self.fields, self.label, self.labels, self.skip)
            examples += files.read(file, readers.READERS[self.reader])
        if self.kind == "intents":
            return [self._with_reference(example) for example in examples]
        return examples

    def target(self, label: str) -> str:
        """A label in words; of intents, the sorted words of all of them joined by "；"."""
        if self.kind != "intents":
            return self.names[label]
        return JOINED.join(sorted(self.names[one] for one in label.split(JOINED)))

    def intents(self, text: str) -> frozenset[str]:
        """The intents' words that a generated text holds, known or not."""
        return frozenset(part.strip() for part in text.split(JOINED) if part.strip())

    def _with_reference(self, example: Example) -> Example:
        return dataclasses.replace(example, references=(self.target(example.label or ""),))


def data_folder(given: str | Path | None) -> Path:
    """The folder given, or $PANGU_DATA_DIR.

    Raises:
      DataError: neither is set, or it is no folder.
    """
    path = given or os.environ.get("PANGU_DATA_DIR")
    if not path:
        raise DataError("benchmarks: no data folder: set PANGU_DATA_DIR, or give --data_dir")
    folder = Path(path).expanduser()
    if not folder.is_dir():
        raise DataError(
            f"benchmarks: there is no data folder {folder}: set PANGU_DATA_DIR, or give --data_dir"
        )
    return folder


def answers(task: BenchmarkTask, examples: list[Example]) -> list[str | int]:
    """What is right, for counting: labels, sets of intents as text, or a choice's place among its options.

    Raises:
      DataError: the task's answers are free text, or the owners keep them.
    """
    if task.kind in ("reading", "generation"):
        raise DataError(f"{task.name}: its answers are free text; there is nothing to guess")
    if not examples or any(example.label is None for example in examples):
        raise DataError(f"{task.name}: the labels of this split are not public; take another one")
    if task.kind == "choice":
        return [example.options.index(example.label or "") for example in examples]
    return [example.label or "" for example in examples]


def majority(task: BenchmarkTask, train: list[Example], test: list[Example]) -> float:
    """Accuracy on `test`, in percent, of always giving the most frequent answer of `train`.

    Of answers that are equally frequent, the first by name. Of a choice, an answer is a place.

    Raises:
      DataError: as `answers`.
    """
    counts = Counter(answers(task, train))
    often = min(counts, key=lambda answer: (-counts[answer], answer))
    right = answers(task, test)
    return 100 * sum(answer == often for answer in right) / len(right)


def chance(task: BenchmarkTask, test: list[Example]) -> float:
    """Expected accuracy in percent of guessing evenly: among the labels, or an example's options.

    Of intents, among the sets of intents that are there.

    Raises:
      DataError: as `answers`.
    """
    right = answers(task, test)
    if task.kind == "choice":
        return 100 * sum(1 / len(example.options) for example in test) / len(test)
    return 100 / len(task.labels if task.kind == "classification" else set(right))
