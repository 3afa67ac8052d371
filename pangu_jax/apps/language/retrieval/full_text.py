"""Full-text indexes of SQLite (FTS3, 4 and 5): which tables are one, and whose text they hold."""

import re
from typing import NamedTuple

_VIRTUAL = re.compile(
    r"\s*CREATE\s+VIRTUAL\s+TABLE\s.*?\sUSING\s+[\"'`\[]?(\w+)[\"'`\]]?\s*(?:\((.*)\))?\s*;?\s*",
    re.IGNORECASE | re.DOTALL,
)
_INDEX = re.compile(r"fts[345]", re.IGNORECASE)
# What only shows an index's words, or has none of its own.
_INSIDE = ("fts5vocab", "fts4aux", "fts3tokenize")
_ARGUMENT = re.compile(r"""(?:"(?:[^"]|"")*"|'(?:[^']|'')*'|`[^`]*`|\[[^\]]*\]|\([^)]*\)|[^,"'`\[(])+""")
_NAME = re.compile(r"""\s*(?:"((?:[^"]|"")*)"|'((?:[^']|'')*)'|`([^`]*)`|\[([^\]]*)\]|([^\s=]+))""")


class FullText(NamedTuple):
    """A full-text index.

    Attributes:
      columns: their names, in order.
      content: the table or view whose text it indexes; None when it holds its own, "" when it keeps none.
    """

    columns: tuple[str, ...]
    content: str | None


def of(sql: str) -> FullText | None:
    """The index that a statement creates; None of another virtual table."""
    match = _VIRTUAL.fullmatch(sql)
    if not match or not _INDEX.fullmatch(match[1]):
        return None
    columns, content = [], None
    for argument in _ARGUMENT.findall(match[2] or ""):
        name, after = _name(argument)
        if not after.startswith("="):
            columns.append(name)
        elif name.lower() == "content":
            content = _name(after[1:])[0]
    return FullText(tuple(columns), content)


def is_inside(sql: str) -> bool:
    """Whether a virtual table only shows the inside of an index."""
    match = _VIRTUAL.fullmatch(sql)
    return bool(match) and match[1].lower() in _INSIDE


def _name(text: str) -> tuple[str, str]:
    """The identifier that a text begins with, without quotes, and what follows it."""
    match = _NAME.match(text)
    if match is None:
        return "", text.strip()
    kind = match.lastindex or 5
    name = match[kind]
    if kind <= 2:
        quote = "\"'"[kind - 1]
        name = name.replace(quote * 2, quote)
    return name, text[match.end() :].strip()
