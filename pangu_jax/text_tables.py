"""Tables as plain text, for people."""

import io
from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

WIDTH = 150


def render(headings: Sequence[str], rows: Iterable[Sequence[str]], width: int = WIDTH) -> str:
    """Columns under their headings, long cells folded at words, without colours or frames.

    Args:
      headings: one per column; where all are empty there is no line of headings.
      rows: cells each, shown as they are; fewer than headings leaves the last ones empty.
      width: columns of characters at most.
    """
    table = Table(box=None, pad_edge=False, show_header=any(headings))
    for heading in headings:
        table.add_column(Text(heading), overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    buffer = io.StringIO()
    Console(file=buffer, width=width, color_system=None, force_jupyter=False).print(table)
    return "\n".join(line.rstrip() for line in buffer.getvalue().rstrip().splitlines())
