"""A table of HTML: cells that reach over rows and columns, and which of them are names."""

import dataclasses
from collections.abc import Iterator
from itertools import zip_longest

from pangu_jax.apps.language.retrieval.source_text import SourceText, row

_WIDEST = 100  # columns: hostile spans are not unfolded beyond
_HEAD = 100  # characters of a first row that may be repeated as if it named the columns


@dataclasses.dataclass
class GridCell:
    """A cell: whether it is a th, its line in the file, how many columns and rows it takes, and its text."""

    names: bool
    line: int
    columns: int = 1
    rows: int = 1
    text: str = ""


class TableGrid:
    """The rows of a table, as they come; falsy before the first cell."""

    def __init__(self):
        self._rows: list[list[GridCell]] = []

    def __bool__(self) -> bool:
        return bool(self._rows)

    def open(self, cell: GridCell, opens_row: bool) -> None:
        """A cell begins, in a new row or the one there is."""
        if opens_row or not self._rows:
            self._rows.append([])
        self._rows[-1].append(cell)

    def add(self, text: str) -> None:
        """More text of the last cell."""
        self._rows[-1][-1].text += text

    def rows(self, name: str, head: str) -> Iterator[SourceText]:
        """The rows as texts, each with what names its values.

        Leading rows of th alone name the columns, a th before a row's other cells names these. Without any,
        it is open whether the first row names columns (型号, 价格) or is one like the others (电压, 220V):
        each row then comes as it is, below the first one.
        """
        rows = [cells for cells in self._unfolded() if any(cell.text.strip() for cell in cells)]
        names: list[list[GridCell]] = []
        while rows and len(rows[0]) > 1 and all(cell.names for cell in rows[0]):
            names.append(rows.pop(0))
        columns = [
            " ".join(dict.fromkeys(cell.text.strip() for cell in column if cell is not None))
            for column in zip_longest(*names)
        ]
        if columns and not rows:
            rows, columns = names, []
        first = _plain(rows[0]) if rows else ""
        repeat = not columns and len(rows) > 1 and len(rows[0]) > 1 and len(first) <= _HEAD
        for i, cells in enumerate(rows):
            texts = [" ".join(cell.text.split()) for cell in cells]
            above = head
            if columns:
                fields = list(zip_longest(columns, texts, fillvalue=""))
            elif cells[0].names and not cells[-1].names:
                fields = [(texts[0], _plain(cells[1:]))]
            else:
                fields = [("", _plain(cells))]
                if repeat and i:
                    above = f"{head}\n{first}".strip()
            if source := row(fields, name, max(cell.line for cell in cells), above):
                yield source

    def _unfolded(self) -> list[list[GridCell]]:
        """The rows with each cell in all the rows and columns that it takes."""
        hanging: dict[int, tuple[GridCell, int]] = {}  # by column: from above, for more rows
        unfolded = []
        for cells in self._rows:
            waiting = list(reversed(cells))
            found: list[GridCell] = []
            while waiting or len(found) in hanging:
                column = len(found)
                if column in hanging:
                    cell, more = hanging.pop(column)
                    found.append(cell)
                    if more > 1:
                        hanging[column] = cell, more - 1
                    continue
                cell = waiting.pop()
                for taken in range(column, column + max(1, min(cell.columns, _WIDEST - column))):
                    found.append(cell)
                    if cell.rows > 1 and taken < _WIDEST:
                        hanging[taken] = cell, cell.rows - 1
            unfolded.append(found)
        return unfolded


def _plain(cells: list[GridCell]) -> str:
    once = {id(cell): " ".join(cell.text.split()) for cell in cells}  # one of several columns comes once
    return " | ".join(text for text in once.values() if text)
