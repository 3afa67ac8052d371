"""Rows of `benchmarks.one_bit` and `benchmarks.increments`: summed up over seeds."""

import math
import statistics

from benchmarks._rows import Row


def values(rows: list[Row], task: str, method: str, name: str) -> dict[int, float]:
    """By seed."""
    return {row["seed"]: row[name] for row in rows if (row["task"], row["method"]) == (task, method)}


def mean(rows: list[Row], task: str, method: str, name: str) -> float:
    """Over seeds; nan where there are none."""
    found = values(rows, task, method, name).values()
    return statistics.fmean(found) if found else math.nan


def cell(found: list[float]) -> str:
    """A mean, with its standard error where there are several."""
    if not found:
        return ""
    error = f" ± {statistics.stdev(found) / math.sqrt(len(found)):.1f}" if len(found) > 1 else ""
    return f"{statistics.fmean(found):.1f}{error}"


def by_method(rows: list[Row], tasks: list[str], name: str = "accuracy") -> str:
    """A line a method, a column a task."""
    lines = [f"| method | {' | '.join(tasks)} |", "| --- " * (1 + len(tasks)) + "|"]
    for method in dict.fromkeys(row["method"] for row in rows):
        cells = [cell(list(values(rows, task, method, name).values())) for task in tasks]
        lines.append(f"| {method} | {' | '.join(cells)} |")
    return "\n".join(lines)


def difference(rows: list[Row], task: str, first: str, second: str, bar: float | None) -> str:
    """`first` minus `second`, paired by seed, beside what it must reach."""
    one, other = values(rows, task, first, "accuracy"), values(rows, task, second, "accuracy")
    apart = [one[seed] - other[seed] for seed in one if seed in other]
    if not apart:
        return f"{first} minus {second}: not measured"
    said = f"{first} minus {second}: {statistics.fmean(apart):+.2f}"
    if len(apart) > 1:
        said += f" ± {statistics.stdev(apart) / math.sqrt(len(apart)):.2f}"
    said += f", least {min(apart):+.2f}, {len(apart)} seed{'s' * (len(apart) > 1)}"
    return said + (f" (bar {bar:+g})" if bar is not None else "")
