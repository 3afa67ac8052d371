"""CSV and TSV: a row is a text with its columns' names."""

import csv
from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path

from data_pipelines.corpus.reading.quarantine import Quarantine
from pangu_jax.apps.language.retrieval.source_text import SourceText, row

_DELIMITERS = ",\t;|"


def texts(text: str, file: Path, name: str, quarantine: Quarantine) -> Iterator[SourceText]:
    """The rows of a file whose first one names the columns, each cited by its first line.

    A row of several lines that has not as many values as there are columns, or never ends, begins with a
    quote that is not closed: it goes to the quarantine, and reading continues on the line below.

    Args:
      text: with "\\n" as the only line end.
      file: as the quarantine names it.
      name: as it is cited.
    """
    lines = text.split("\n")
    delimiter = _delimiter(lines, file)
    columns: list[str] = []
    at = 0
    while at < len(lines):
        begin = at
        found = _record(lines, at, delimiter)
        if found is None or (columns and found[1] > 1 and len(found[0]) != len(columns)):
            quarantine.add(file, at + 1, "a quote that is never closed", lines[at])
            at += 1
            continue
        cells, height = found
        at += height
        if not columns:
            columns = cells
        elif source := row(zip_longest(columns, cells, fillvalue=""), name, begin + 1):
            yield source


def _delimiter(lines: list[str], file: Path) -> str:
    if file.suffix.lower() == ".tsv":
        return "\t"
    head = next((line for line in lines if line.strip()), "")
    return max(_DELIMITERS, key=head.count)


def _record(lines: list[str], at: int, delimiter: str) -> tuple[list[str], int] | None:
    """The record that begins in a line and its lines' number; None when a quote in it is not closed.

    Over several lines a record has to be well-formed; in one, a stray quote harms nobody.
    """
    for strict in (True, False):
        following = (f"{lines[i]}\n" for i in range(at, len(lines)))
        reader = csv.reader(following, delimiter=delimiter, strict=strict)
        try:
            cells = next(reader)
        except csv.Error:  # also of a value of more than csv.field_size_limit()
            continue
        if strict or (reader.line_num == 1 and not cells[-1].endswith("\n")):
            return cells, reader.line_num
    return None
