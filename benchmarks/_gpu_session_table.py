"""The table of a `gpu_session`, from its lines alone."""

from collections.abc import Sequence
from typing import Any

LONGEST = 60  # characters of a value
INNER = ("part", "ended", "seconds")


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Markdown: parts in the order in which they ran, a row for each line, how each ended."""
    lines = ["| part | what | found |", "| --- | --- | --- |"]
    for row in rows:
        if "ended" in row:
            took = f", {row['seconds']:.0f} s" if "seconds" in row else ""
            lines.append(f"| {row['part']} | | {_cell(row['ended'])}{took} |")
            continue
        names = [value for name, value in row.items() if name not in INNER and isinstance(value, str)]
        numbers = {name: value for name, value in row.items() if not isinstance(value, str)}
        said = ", ".join(f"{name} {_value(value)}" for name, value in numbers.items())
        lines.append(f"| {row['part']} | {_cell(', '.join(names))} | {_cell(said)} |")
    return "\n".join(lines)


def _value(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "unknown"}[value]
    if isinstance(value, int) and abs(value) >= 2**20:
        return f"{value / 2**30:.3g} GiB"
    if isinstance(value, (int, float)):
        return f"{value:.4g}"
    if isinstance(value, dict):
        return "(" + ", ".join(f"{name} {_value(one)}" for name, one in value.items() if one != "") + ")"
    if isinstance(value, list):
        return "[" + ", ".join(map(_value, value)) + "]"
    text = str(value)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}..."


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "/").split())
