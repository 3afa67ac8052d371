"""Rows of results on standard error, as they are found."""

import sys
from typing import Any


def print_row(row: dict[str, Any]) -> None:
    """What was measured, and its numbers."""
    numbers = ", ".join(
        f"{name} {value}"
        for name, value in row.items()
        if name not in ("task", "method", "examples", "windowed")
    )
    what = " ".join(row[name] for name in ("task", "method") if name in row)
    print(f"{what}: {numbers}", file=sys.stderr, flush=True)
