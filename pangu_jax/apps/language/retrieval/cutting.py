"""From a source's text to passages that can be understood alone: below headings, with columns' names."""

from collections.abc import Iterator
from typing import NamedTuple

from pangu_jax.apps.language.retrieval.chunking import chunks
from pangu_jax.apps.language.retrieval.source_text import SourceText, joined

_HEAD = 3  # a head takes at most one third of a passage, and so does what a long row repeats


class PassageText(NamedTuple):
    """What becomes a passage, and the line or rowid it is cited by."""

    text: str
    number: int


def pieces(source: SourceText, size: int, overlap: int) -> Iterator[PassageText]:
    """Pieces of at most `size` characters, each with the source's head.

    A row that fits is one piece. Of a longer one, its first short fields are repeated in each piece, and a
    value that is cut has its column's name each time.

    Raises:
      ValueError: as `chunks`.
    """
    head = _bounded(source.head, size)
    if not source.fields:
        room = size - len(head)
        number, line, counted = source.number, 0, 0
        for i, (begin, text) in enumerate(_cut(source.text, room, overlap)):
            if source.lines is not None and i:  # counted on from the last: no text is read once per piece
                line, counted = line + source.text.count("\n", counted, begin), begin
                number = source.lines[line]
            yield PassageText(head + text, number)
    elif len(head) + len(source.text) <= size:
        yield PassageText(head + source.text, source.number)
    else:
        for text in _row(source.fields, size, head, overlap):
            yield PassageText(text, source.number)


def _row(fields: tuple[tuple[str, str], ...], size: int, head: str, overlap: int) -> Iterator[str]:
    key: list[tuple[str, str]] = []
    rest = list(fields)
    for field in fields:
        if len(joined([*key, field])) > size // (2 * _HEAD):
            break
        key.append(rest.pop(0))
    head += f"{joined(key)}；" if key else ""
    room = size - len(head)
    group: list[tuple[str, str]] = []
    for field in rest:
        if len(joined([*group, field])) <= room:
            group.append(field)
            continue
        if group:
            yield head + joined(group)
        group = [field]
        if len(joined(group)) > room:
            column, value = group.pop()
            named = f"{column[: room // _HEAD]}：" if column and room >= _HEAD else ""
            for _, text in _cut(value, room - len(named), overlap):
                yield head + named + text
    if group:
        yield head + joined(group)


def _cut(text: str, room: int, overlap: int) -> Iterator[tuple[int, str]]:
    """(begin, text) of each span; the overlap shrinks with the room that a head leaves."""
    for begin, end in chunks(text, room, min(overlap, (room - 1) // 2)):
        yield begin, text[begin:end]


def _bounded(head: str, size: int) -> str:
    """The head with a newline, in its share of a passage: outer headings give way first, then its end."""
    lines = head.split("\n") if head else []
    while len(lines) > 1 and sum(len(line) + 1 for line in lines) > size // _HEAD:
        lines.pop(0)
    kept = "\n".join(lines)
    if len(kept) >= size // _HEAD:
        kept = kept[: max(0, size // _HEAD - 2)]
        kept += "…" if kept else ""
    return f"{kept}\n" if kept else ""
