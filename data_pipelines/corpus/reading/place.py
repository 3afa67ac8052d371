"""Where reading is: a file or a member of an archive, and what is known of it."""

import dataclasses
from typing import NamedTuple

import polars as pl

from data_pipelines.corpus.reading.quarantine import Quarantine
from data_pipelines.corpus.reading.settings import Reading


class Record(NamedTuple):
    """One document as its file has it; `where` is its line or number, None for the only one of a file."""

    where: str | int | None
    text: str
    url: str | None = None
    html: bool = False
    source: str | None = None  # None: the file's


@dataclasses.dataclass(frozen=True)
class Place:
    """A file or member: the beginning of its documents' ids, their source, and where the rest goes."""

    name: str
    source: str
    settings: Reading
    quarantine: Quarantine

    @staticmethod
    def line(begin: int, number: int) -> str:
        """The name of a line counted from byte `begin`: its number, behind `begin+` where that is not 0."""
        return f"{begin}+{number}" if begin else str(number)

    def ids(self, begin: int, numbers: pl.Expr) -> pl.Expr:
        """The ids of lines, named as by `line`."""
        prefix = f"{self.name}:{begin}+" if begin else f"{self.name}:"
        return pl.concat_str(pl.lit(prefix), numbers.cast(pl.String)).alias("id")

    def reject(self, where: str | int, reason: str, sample: bytes | str = b"") -> None:
        self.quarantine.add(self.name, where, reason, sample)

    def too_long(self, where: str | int, sample: bytes | str) -> None:
        self.reject(
            where, f"longer than Reading.max_document_bytes: {self.settings.max_document_bytes}", sample
        )

    def note(self, what: str, number: int) -> None:
        if number:
            self.quarantine.noted[what] += number
