"""Markdown as sections below their headings, and tables as rows with their columns' names."""

import re
from collections.abc import Iterator
from itertools import zip_longest
from typing import TYPE_CHECKING

from pangu_jax.apps.language.retrieval.extra import knowledge_extra
from pangu_jax.apps.language.retrieval.source_text import Headings, SourceText, row

if TYPE_CHECKING:
    from markdown_it.token import Token

# `#标题`, as many Chinese authors write it and CommonMark does not take it; but not `#话题 #话题`.
_TIGHT = re.compile(r"^ {0,3}(#{1,6})(?=[一-鿿][^#\n]*$)", re.MULTILINE)
_FRONT_MATTER = re.compile(r"---[ \t]*\n(?:.*\n){0,200}?(?:---|\.\.\.)[ \t]*(?:\n|\Z)")
_CELL_BORDER = re.compile(r"(?<!\\)\|")


def texts(text: str, name: str) -> Iterator[SourceText]:
    """The texts of a file, in order.

    Args:
      text: with "\\n" as the only line end, as parsed lines are counted by it.
      name: as it is cited.
    """
    lines = text.split("\n")
    headings = Headings()
    begin = 0
    if front := _FRONT_MATTER.match(text):
        begin = front.group().count("\n")
        yield from _section(lines, 0, begin, name, headings)
    tokens = _tokens("\n" * begin + "\n".join(lines[begin:]))
    for i, token in enumerate(tokens):
        if token.type == "heading_open" and token.level == 0 and token.map:
            yield from _section(lines, begin, token.map[0], name, headings)
            level = int(token.tag[1:])
            if alone := headings.alone(name, level):
                yield alone
            headings.open(level, tokens[i + 1].content, token.map[0] + 1)
            begin = token.map[1]
        elif token.type == "table_open" and token.map and token.map[0] >= begin:
            yield from _section(lines, begin, token.map[0], name, headings)
            yield from _table(lines, tokens, i, name, headings)
            begin = token.map[1]
    yield from _section(lines, begin, len(lines), name, headings)
    if alone := headings.alone(name, 0):
        yield alone


def _tokens(text: str) -> "list[Token]":
    with knowledge_extra():
        from markdown_it import MarkdownIt
    parser = MarkdownIt("commonmark").enable("table")
    parser.core.ruler.enableOnly(["normalize", "block"])  # emphasis and links stay as they are written
    return parser.parse(_TIGHT.sub(r"\1 ", text))


def _section(lines: list[str], begin: int, end: int, name: str, headings: Headings) -> Iterator[SourceText]:
    while begin < end and not lines[begin].strip():
        begin += 1
    text = "\n".join(lines[begin:end])
    if text.strip():
        number, headings.line = headings.line or begin + 1, None
        yield SourceText(text, name, number, range(begin + 1, end + 1), headings.text)


def _table(
    lines: list[str], tokens: "list[Token]", start: int, name: str, headings: Headings
) -> Iterator[SourceText]:
    columns: list[str] = []
    cells: list[str] = []
    line = rows = 0
    for token, content in zip(tokens[start:], tokens[start + 1 :], strict=False):
        if token.type == "table_close":
            break
        if token.type == "tr_open":
            cells, line = [], token.map[0] if token.map else line
        elif token.type in ("th_open", "td_open"):
            cells.append(content.content)
        elif token.type == "tr_close" and not columns:
            columns = cells
        elif token.type == "tr_close":
            written = _CELL_BORDER.split(lines[line].strip().strip("|"))
            if len(written) > len(columns):  # what is beyond the last column, the parser leaves out
                cells = [*cells, *written[len(columns) :]]
            if found := row(zip_longest(columns, cells, fillvalue=""), name, line + 1, headings.text):
                headings.line, rows = None, rows + 1
                yield found
    if not rows and (found := row((("", column) for column in columns), name, line + 1, headings.text)):
        headings.line = None
        yield found
