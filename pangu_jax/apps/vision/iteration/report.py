"""What `pangu iterate` leaves for people: a text, and a page that needs nothing else."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from data_pipelines.templates import rendered
from pangu_jax import text_tables
from pangu_jax.runs.run_directory import write_atomically

FILE = "iterate.html"  # in the folder of the rounds
Row = Mapping[str, Any]


def text(columns: Sequence[str], rows: Sequence[Row]) -> str:
    """A table for a terminal; numbers of FLOPs by their powers of ten."""
    return text_tables.render(list(columns), [[cell(row.get(name)) for name in columns] for row in rows])


def cell(value: Any) -> str:
    """A value as people read it."""
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.2e}" if abs(value) >= 1e7 else f"{value:.2f}".rstrip("0").rstrip(".")
    return str(value)


def write(
    folder: Path,
    title: str,
    pictures: str,
    columns: Sequence[str],
    rows: Sequence[Row],
    lines: Mapping[str, Sequence[tuple[float, float]]],
    axes: tuple[str, str],
    recipe: str,
) -> Path:
    """The page, in `folder`.

    Args:
      folder: of the rounds.
      title: of the page.
      pictures: what was learnt from, in words.
      columns: names of the table's columns.
      rows: of the table.
      lines: points (x, y) of the curve, by name.
      axes: what x and y are.
      recipe: by which this was done.

    Raises:
      UserError: it cannot be written.
    """
    from pangu_jax.evaluation import plots  # matplotlib: half a second

    page = rendered(
        "pangu_jax.apps.vision.iteration",
        "report.html.jinja",
        {"cell": cell},
        title=title,
        pictures=pictures,
        columns=list(columns),
        rows=rows,
        curve=Markup(plots.curves(lines, *axes)),
        legend=plots.legend(list(lines)),
        recipe=recipe,
    )
    path = folder / FILE
    write_atomically(path, page)
    return path
