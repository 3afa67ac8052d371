"""The tables of a sweep: results.json, results.md and results.html, which needs nothing else to be read.

Every row is in the JSON and on the page, every mean in all three. A baseline is a method like another, and no
method or task is left out for being low; a total over tasks is given only where none is missing.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from markupsafe import Markup

from data_pipelines.templates import rendered
from pangu_jax.errors import UserError
from pangu_jax.evaluation.statistics import BASELINES, Paired, Row, Summary, comparisons, paired, summaries


class BoardTotal(NamedTuple):
    """A leaderboard's total over its tasks.

    Attributes:
      board: prefix of its tasks' names, such as "clue/".
      name: of the total.
      of: the total from each task's mean, by the task's name; UserError, with the reason, where a task is
        missing.
    """

    board: str
    name: str
    of: Callable[[dict[str, float]], float]


class Total(NamedTuple):
    """One total over tasks, of every method."""

    name: str
    values: list[float | None]  # by method; None where a task is missing
    reasons: dict[str, list[str]]  # why there is None, and of which methods


class Written(NamedTuple):
    """Paths of the files."""

    json: Path
    markdown: Path
    html: Path


def write(
    rows: Iterable[Row],
    directory: str | Path,
    title: str,
    recipe: str,
    commit: str,
    compare: Sequence[tuple[str, str]] | None = None,
    totals: Sequence[BoardTotal] = (),
) -> Written:
    """Write the three files into a directory, made if it is not there.

    Args:
      rows: of the sweep, as `statistics` takes them.
      directory: where they go; files of an earlier call are replaced.
      title: heading.
      recipe: gin text, or the name of its file.
      commit: of the repository that made the rows.
      compare: pairs of methods whose difference is shown, (first, second) for first minus second; every
        pair unless given, which is many to read beyond five methods.
      totals: shown of the boards that the rows have tasks of.

    Raises:
      UserError: there is no row, a row is wrong (see `statistics.summaries`), `compare` names a method
        without rows, or the directory cannot be written.
    """
    rows = [dict(row) for row in rows]
    if not rows:
        raise UserError("results: there is not one row: run the sweep first")
    view = _view(rows, title, recipe, commit, compare, totals)
    whole = {"title": title, "commit": commit, "recipe": recipe, "rows": rows}
    written = Written(*(Path(directory, f"results.{suffix}") for suffix in ("json", "md", "html")))
    filters = {"cell": _cell, "number": _number, "signed": _signed, "interval": _interval}
    texts = (
        json.dumps(whole, ensure_ascii=False, indent=1) + "\n",
        rendered("pangu_jax.evaluation", "results.md.jinja", filters, **view),
        rendered("pangu_jax.evaluation", "results.html.jinja", filters, **view),
    )
    try:
        written.json.parent.mkdir(parents=True, exist_ok=True)
        for path, text in zip(written, texts, strict=True):
            path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UserError(f"{directory}: {error.strerror}: give another directory for the tables") from None
    return written


def _view(
    rows: Sequence[Mapping[str, Any]],
    title: str,
    recipe: str,
    commit: str,
    compare: Sequence[tuple[str, str]] | None,
    totals: Sequence[BoardTotal],
) -> dict[str, Any]:
    """What both templates show."""
    from pangu_jax.evaluation import plots  # matplotlib: for tables alone half a second too much

    cells = summaries(rows)
    methods = list(dict.fromkeys(cell.method for cell in cells))
    methods.sort(key=lambda method: method not in BASELINES)  # they come first
    cells.sort(key=lambda cell: methods.index(cell.method))
    tasks = list(dict.fromkeys(row["task"] for row in rows))
    pairs = comparisons(rows) if compare is None else list(compare)
    if unknown := [method for pair in pairs for method in pair if method not in methods]:
        raise UserError(f"results: no row of method {unknown[0]!r}: there are {', '.join(methods)}")
    compared = {pair: paired(rows, *pair) for pair in pairs}
    return {
        "title": title,
        "recipe": recipe,
        "commit": commit,
        "rows": rows,
        "methods": methods,
        "table": [(task, _metric(cells, task), _row(cells, task, methods)) for task in tasks],
        "totals": [
            _total(cells, methods, total)
            for total in totals
            if any(task.startswith(total.board) for task in tasks)
        ],
        "sizes": _sizes(rows),
        "compared": compared,
        "legend": plots.legend(methods),
        "means_plot": Markup(plots.means(sorted(cells, key=lambda cell: tasks.index(cell.task)))),
        "difference_plots": [
            (pair, Markup(plots.differences(found)))
            for pair, found in compared.items()
            if any(of.mean is not None for of in found)
        ],
    }


def _sizes(rows: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """By task: how many examples each method was measured on, where they differ."""
    found: dict[str, dict[int, list[str]]] = {}
    for row in rows:
        if "examples" in row:
            methods = found.setdefault(row["task"], {}).setdefault(row["examples"], [])
            if row["method"] not in methods:
                methods.append(row["method"])
    return {
        task: "; ".join(f"{', '.join(methods)} on {size:,}" for size, methods in sizes.items())
        for task, sizes in found.items()
        if len(sizes) > 1
    }


def _metric(cells: list[Summary], task: str) -> str:
    return next(cell.metric for cell in cells if cell.task == task)


def _row(cells: list[Summary], task: str, methods: list[str]) -> list[Summary | None]:
    by_method = {cell.method: cell for cell in cells if cell.task == task}
    return [by_method.get(method) for method in methods]


def _total(cells: list[Summary], methods: list[str], total: BoardTotal) -> Total:
    values: list[float | None] = []
    reasons: dict[str, list[str]] = {}
    for method in methods:
        means = {cell.task: cell.mean for cell in cells if cell.method == method}
        try:
            values.append(
                total.of({task: mean for task, mean in means.items() if task.startswith(total.board)})
            )
        except UserError as error:
            values.append(None)
            reasons.setdefault(str(error), []).append(method)
    return Total(total.name, values, reasons)


def _cell(summary: Summary | None) -> str:
    """71.7 (4.0), or 71.7 of a single row."""
    if summary is None:
        return "–"
    return f"{summary.mean:.1f}" + (f" ({summary.std:.1f})" if summary.std is not None else "")


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f}"


def _signed(value: float | None) -> str:
    return "no pair" if value is None else f"{value:+.1f}"


def _interval(of: Paired) -> str:
    return f"{of.interval[0]:+.1f} to {of.interval[1]:+.1f}" if of.interval else "–"
