"""A piece of what knowledge is read from, before it is cut into passages."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple


class SourceText(NamedTuple):
    """A piece of text, where it is, and what it stands under.

    Attributes:
      text: not blank.
      name: file or table, as it is cited.
      number: line of its first character, or rowid.
      lines: the file's line of each line of the text; None when all of it is cited by `number`.
      head: headings above it, outermost first, a line each; every passage of it begins with them.
      fields: of a row, (column, value): no value is cut from its column's name.
    """

    text: str
    name: str
    number: int
    lines: Sequence[int] | None = None
    head: str = ""
    fields: tuple[tuple[str, str], ...] = ()


def row(fields: Iterable[tuple[str, Any]], name: str, number: int, head: str = "") -> SourceText | None:
    """A row's text, `name：value；name：value`, without what is empty; None of a row that is.

    Args:
      fields: columns and their values; a blank column leaves the value alone.
    """
    found = tuple(
        (" ".join(column.split()), str(value).strip())
        for column, value in fields
        if value is not None and str(value).strip()
    )
    return SourceText(joined(found), name, number, head=head, fields=found) if found else None


def joined(fields: Iterable[tuple[str, str]]) -> str:
    """Fields as text."""
    return "；".join(f"{column}：{value}" if column else value for column, value in fields)


class Headings:
    """The headings that the place one has come to in a document stands under."""

    def __init__(self):
        self._above: list[tuple[int, str]] = []  # levels rise
        self.line: int | None = None  # of the last heading, until something stands under it

    def open(self, level: int, text: str, line: int) -> None:
        """A heading. Those of its own level and deeper end here."""
        self._above = [(outer, above) for outer, above in self._above if outer < level]
        self._above.append((level, f"{'#' * level} {' '.join(text.split())}".strip()))
        self.line = line

    @property
    def level(self) -> int:
        """Of the last one; 0 without any."""
        return self._above[-1][0] if self._above else 0

    @property
    def text(self) -> str:
        """All of them, outermost first, a line each."""
        return "\n".join(above for _, above in self._above)

    def alone(self, name: str, following: int) -> SourceText | None:
        """The last heading as a text of its own, when nothing stood under it before one of level `following`.

        Deeper ones carry it with them.
        """
        if self.line is None or following > self.level:
            return None
        outer, own = "\n".join(above for _, above in self._above[:-1]), self._above[-1][1]
        line, self.line = self.line, None
        return SourceText(own, name, line, head=outer)
