"""A file of a split: its text, its labels, and what becomes of what is broken."""

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from data_pipelines.corpus.evaluation_files import UNREADABLE, unpacked
from data_pipelines.errors import DataError
from data_pipelines.text.benchmarks.examples import Example
from data_pipelines.text.folder import Quarantine

NO_LABEL = "no label"  # the reason, where examples are passed over


@dataclasses.dataclass(frozen=True)
class File:
    """A file of a split.

    Attributes:
      task: its name, for messages.
      fields: a pattern's slot to the record's key.
      label: the record's key of the label.
      labels: those a label may be; empty where they are free.
      skip: values of the label that mean there is none: such examples are left out, and counted.
    """

    path: Path
    quarantine: Quarantine
    task: str
    fields: Mapping[str, str]
    label: str
    labels: tuple[str, ...]
    skip: tuple[str, ...]

    def text(self) -> str:
        return unpacked(self.path)

    def beside(self, name: str) -> str | None:
        """The text of another file of the folder, packed or not; None where it is not there."""
        found = sorted(self.path.parent.glob(f"{name}*"))
        return unpacked(found[0]) if found else None

    def broken(self, where: int | str, reason: str, sample: str = "") -> None:
        self.quarantine.add(self.path, where, reason, sample)

    def pass_over(self) -> None:
        self.quarantine.noted[NO_LABEL] += 1

    def known(self, label: str, where: int | str) -> str:
        """The label.

        Raises:
          DataError: the task has no such label.
        """
        if self.labels and label not in self.labels:
            some = ", ".join(self.labels[:5]) + (", ..." if len(self.labels) > 5 else "")
            raise DataError(
                f"{self.task}: {self.path}:{where} has the label {label!r}, none of its {len(self.labels)} "
                f"labels ({some}): fix the file, or add the label to the task's definition"
            )
        return label


def read(file: File, reader: Callable[[File], Iterator[Example]]) -> Iterator[Example]:
    """The examples of a file.

    Raises:
      DataError: the file cannot be opened, or is not what the set's files are; or a label is unknown.
    """
    try:
        yield from reader(file)
    except (*UNREADABLE, TypeError, AttributeError) as error:
        raise DataError(
            f"{file.task}: cannot read {file.path} ({type(error).__name__}: {error}); get it anew from its "
            "owners, or move it away"
        ) from error
