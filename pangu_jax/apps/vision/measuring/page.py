"""What `pangu eval` makes of measured pictures: a text, JSON, and a page that needs nothing else."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from markupsafe import Markup

from data_pipelines.templates import rendered
from pangu_jax import text_tables
from pangu_jax.apps.vision.measuring import results
from pangu_jax.apps.vision.measuring.evaluate_images import EvaluatedImages
from pangu_jax.apps.vision.measuring.few_labels import MODEL
from pangu_jax.apps.vision.measuring.results import FewLabelResults
from pangu_jax.runs import exhibit_files
from pangu_jax.runs.inline_pictures import inline_picture
from pangu_jax.runs.run_directory import write_atomically

FILE = "eval_images.html"  # in the run directory


def as_json(found: EvaluatedImages) -> dict[str, Any]:
    """All of it but the pictures."""
    labels = results.as_json(found.few_labels) if found.few_labels else {}
    return {"step": found.step, "pictures": found.pictures, **labels, "restored": found.restored}


def text(found: EvaluatedImages) -> str:
    """Tables for a terminal."""
    parts = [results.text(found.few_labels)] if found.few_labels else []
    if found.restored:
        rows = [
            [row["set"], row["task"], row["method"], f"{row['psnr']:.2f}", f"{row['ssim']:.4f}", _how(row)]
            for row in found.restored
        ]
        parts.append(text_tables.render(["set", "task", "method", "PSNR, dB", "SSIM", "how"], rows))
    return "\n\n".join(parts)


def write(run_dir: str | Path, found: EvaluatedImages, recipe: str) -> Path:
    """The page, in the run directory.

    Args:
      run_dir: of the run.
      found: what was measured.
      recipe: by which.

    Raises:
      UserError: it cannot be written.
    """
    path = Path(run_dir) / FILE
    write_atomically(path, render(path.parent.resolve().name, found, recipe))
    return path


def render(title: str, found: EvaluatedImages, recipe: str) -> str:
    """The page's text."""
    return rendered(
        "pangu_jax.apps.vision.measuring",
        "page.html.jinja",
        {"interval": _interval, "how": _how},
        title=title,
        found=found,
        recipe=recipe,
        labels=_of_labels(found.few_labels) if found.few_labels else None,
        sheets=[inline_picture(one.title, exhibit_files.png(one.pixels_HxWxC)) for one in found.sheets],
    )


def _of_labels(found: FewLabelResults) -> dict[str, Any]:
    from pangu_jax.evaluation import plots  # matplotlib: half a second

    methods = list(dict.fromkeys(one.method for one in found.summaries))
    cells = {(one.task, one.method): one for one in found.summaries}
    tasks = list(dict.fromkeys(one.task for one in found.summaries))
    return {
        "methods": methods,
        "tasks": [(task, [cells.get((task, method)) for method in methods]) for task in tasks],
        "legend": plots.legend(methods),
        "means": Markup(plots.means(found.summaries)),
        "differences": [(pair, found.intervals[pair.task, pair.second]) for pair in found.differences],
        "reliabilities": [
            (task, 100 * of.error, Markup(plots.reliability(of)))
            for (task, method), of in found.reliabilities.items()
            if method == MODEL
        ],
        "rows": found.rows,
    }


def _interval(bounds: tuple[float, float] | None) -> str:
    return f"{bounds[0]:+.1f} to {bounds[1]:+.1f}" if bounds else "–"


def _how(row: Mapping[str, Any]) -> str:
    return f"{row['degraded']}; {row['compared']}"
