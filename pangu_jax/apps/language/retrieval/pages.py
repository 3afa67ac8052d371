"""HTML as sections below their headings, and tables as rows with their columns' names.

What is content, and where a line ends, the corpus factory's extraction says, by tags alone: a page that a
person gives is content but for what its tags call none (menus, headers outside the content, footers). Before
that, the tags that matter here are marked, each by one private character, which comes out where the tag was.
"""

import html
import re
from collections.abc import Iterator
from typing import NamedTuple

from pangu_jax.apps.language.retrieval.extra import knowledge_extra
from pangu_jax.apps.language.retrieval.grids import GridCell, TableGrid
from pangu_jax.apps.language.retrieval.source_text import Headings, SourceText

MAX_TAGS = 50_000  # as Reading.max_page_tags: nested ones cost their number squared
_FIRST = 0xF0000  # planes for private use
_PRIVATE = re.compile("[\U000f0000-\U0010ffff]")
_MARKED = re.compile(
    r"<(?:(?P<tag>h[1-6]|p|li|dt|dd|div|pre|caption|blockquote|section|article|tr|td|th)\b[^<>]*"
    r"|(?P<end>/(?:h[1-6]|table))\s*)>",
    re.IGNORECASE,
)
# The first of them that a page has: tags may be left out.
_BODY = [re.compile(tag, re.IGNORECASE) for tag in (r"<body\b[^>]*>", r"</head\s*>", r"</title\s*>")]
_BODY_END = re.compile(r"</body\s*>", re.IGNORECASE)
_TITLE = re.compile(r"<title\b[^>]*>([^<]{1,300})", re.IGNORECASE)
_SPAN = re.compile(r"\b(col|row)span\s*=\s*[\"']?(\d{1,3})", re.IGNORECASE)


class _Mark(NamedTuple):
    tag: str
    line: int
    opens_row: bool
    spans: dict[str, int]


def texts(page: str, name: str) -> Iterator[SourceText]:
    """The texts of a page, in order.

    Args:
      page: HTML, with "\n" as the only line end.
      name: as it is cited, with lines of the HTML.
    """
    with knowledge_extra():
        from data_pipelines.corpus import extraction
    page = _PRIVATE.sub("", page)
    marked, marks = _marked(page)
    walk = _Walk(name)
    if not any(mark.tag == "h1" for mark in marks) and (title := _TITLE.search(page)):
        walk.headings.open(0, html.unescape(title[1]), 1)
    begin = next(filter(None, (tag.search(marked) for tag in _BODY)), None)
    end = _BODY_END.search(marked)
    body = marked[begin.end() if begin else 0 : end.start() if end else None]
    for line in extraction.text_of(f"<main>{body}</main>").split("\n"):
        pieces = re.split(f"({_PRIVATE.pattern})", line)
        walk.text(pieces[0])
        for mark, text in zip(pieces[1::2], pieces[2::2], strict=True):
            yield from walk.mark(marks[ord(mark) - _FIRST])
            walk.text(text)
        walk.line_end()
    yield from walk.end()


def _marked(page: str) -> tuple[str, list[_Mark]]:
    marks: list[_Mark] = []
    line, counted, row_begins = 1, 0, False

    def mark(match: re.Match[str]) -> str:
        nonlocal line, counted, row_begins
        tag = (match["tag"] or match["end"]).lower()
        if tag == "tr":
            row_begins = True
            return match[0]
        line, counted = line + page.count("\n", counted, match.start()), match.start()
        cell = tag in ("td", "th")
        spans = {axis.lower(): int(count) for axis, count in _SPAN.findall(match[0])} if cell else {}
        marks.append(_Mark(tag, line, cell and row_begins, spans))
        row_begins = row_begins and not cell
        return f"{match[0]}{chr(_FIRST + len(marks) - 1)}"

    return _MARKED.sub(mark, page), marks


class _Walk:
    """Gathers lines to sections and cells to tables, as they come."""

    def __init__(self, name: str):
        self.headings = Headings()
        self._name, self._at = name, 1
        self._line: list[str] = []
        self._lines: list[str] = []
        self._numbers: list[int] = []
        self._heading: _Mark | None = None
        self._grid = TableGrid()

    def mark(self, mark: _Mark) -> Iterator[SourceText]:
        yield from self._heading_end()
        self._at = mark.line
        if mark.tag in ("td", "th"):
            yield from self._section_end()
            spans = mark.spans
            cell = GridCell(mark.tag == "th", mark.line, spans.get("col", 1) or 1, spans.get("row", 1) or 1)
            self._grid.open(cell, mark.opens_row)
        elif mark.tag == "/table":
            yield from self._table_end()
        elif re.fullmatch("h[1-6]", mark.tag):
            yield from self._table_end()  # a heading in a cell: that table is there for the layout
            yield from self._section_end()
            self._heading = mark

    def text(self, text: str) -> None:
        if self._heading is None and self._grid:
            self._grid.add(text)
        else:
            self._line.append(text)

    def line_end(self) -> None:
        if self._heading is not None or self._grid:
            self.text(" ")
            return
        if line := "".join(self._line).strip():
            self._lines.append(line)
            self._numbers.append(self._at)
        self._line = []

    def end(self) -> Iterator[SourceText]:
        yield from self._heading_end()
        yield from self._table_end()
        yield from self._section_end()
        if alone := self.headings.alone(self._name, 0):
            yield alone

    def _heading_end(self) -> Iterator[SourceText]:
        mark, self._heading = self._heading, None
        if mark is None:
            return
        title, self._line = "".join(self._line).strip(), []
        if title:
            level = int(mark.tag[1])
            if alone := self.headings.alone(self._name, level):
                yield alone
            self.headings.open(level, title, mark.line)

    def _section_end(self) -> Iterator[SourceText]:
        self.line_end()
        lines, numbers = self._lines, self._numbers
        self._lines, self._numbers = [], []
        if lines:
            number, self.headings.line = self.headings.line or numbers[0], None
            yield SourceText("\n".join(lines), self._name, number, numbers, self.headings.text)

    def _table_end(self) -> Iterator[SourceText]:
        grid, self._grid = self._grid, TableGrid()
        for source in grid.rows(self._name, self.headings.text):
            self.headings.line = None
            yield source
