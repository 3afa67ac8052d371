"""Rows of results on standard error, as they are found."""

import sys
from typing import Any

from pangu_jax.runs import formats

LABELS = "task", "method"  # what tells rows apart, where there is more than one kind


def print_row(row: dict[str, Any]) -> None:
    """What was measured, and its numbers."""
    numbers = ", ".join(
        f"{name} {formats.cell(value) if isinstance(value, float) else value}"
        for name, value in row.items()
        if name not in (*LABELS, "examples", "windowed")
    )
    what = " ".join(row[name] for name in LABELS if name in row)
    print(f"{what}: {numbers}" if what else numbers, file=sys.stderr, flush=True)
