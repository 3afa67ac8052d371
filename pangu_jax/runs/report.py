"""report.html of a run: one file that needs nothing else, neither network nor script.

It can be written in mid-training; what is not there yet is left out.
"""

import shlex
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from markupsafe import Markup

from data_pipelines.templates import rendered
from pangu_jax.runs import formats, measured, results
from pangu_jax.runs.charts import chart
from pangu_jax.runs.inline_pictures import inline_pictures
from pangu_jax.runs.measured import Metric, TaskLosses
from pangu_jax.runs.results import VALIDATION, Results, Series
from pangu_jax.runs.run_directory import write_atomically

ROWS = 200  # of each table


class Figure(NamedTuple):
    """A chart with its words."""

    title: str
    note: str
    svg: Markup


def write(run_dir: str | Path, run: Results | None = None) -> Path:
    """Write report.html into a run directory; returns its path.

    Args:
      run_dir: as it is shown in the page's commands.
      run: what was read of it; read here when None.

    Raises:
      UserError: there is no run, one of its files is damaged, or the directory cannot be written.
    """
    run = run or results.read(run_dir)
    write_atomically(run.directory.report, render(run, run_dir))
    return run.directory.report


def render(run: Results, run_dir: str | Path) -> str:
    """The page; `run_dir` is shown in the commands to resume and to repeat."""
    pictures, left_out = inline_pictures(run.exhibits.pictures)
    return rendered(
        "pangu_jax.runs",
        "report.html.jinja",
        {"number": _number, "cell": formats.cell},
        run=run,
        title=run.directory.path.name,
        headline=headline(run),
        where=_where(run),
        facts=_facts(run),
        losses=_losses(run),
        baseline_names=measured.baseline_names(run.tasks),
        below=_below(run.tasks),
        others=_others(run),
        pictures=pictures,
        pictures_left_out=left_out,
        tables=run.exhibits.tables,
        rows=ROWS,
        training=_training(run),
        validated_at=_last_step(run.series(f"{VALIDATION}loss")),
        resume=shlex.join(["pangu", "train", "--run_dir", f"{run_dir}"]),
        repeat=shlex.join(
            ["pangu", "train", "--gin_file", f"{run_dir}/{run.directory.recipe.name}", "--run_dir", "ANOTHER"]
        ),
    )


def _number(value: float | None, form: str = "{:.3f}") -> str:
    return "–" if value is None else form.format(value)


def headline(run: Results) -> str:
    """The result in a sentence or two."""
    if not run.rows:
        return "No step is on record yet."
    sentence = f"{run.step:,} steps" if run.over else f"At step {run.step:,} of {run.steps:,}"
    if run.seconds:
        sentence += f" {'in' if run.over else 'after'} {formats.duration(run.seconds)}"
    if run.best and run.best.ended:
        sentence += f", ended since no step was better than {run.best.step:,}"
    loss, held_out = run.newest.get("loss"), run.newest.get(f"{VALIDATION}loss")
    if held_out is not None:
        sentence += f"; held-out loss {held_out:.3f}"
    elif loss is not None:
        sentence += f"; training loss {loss:.3f}"
    return f"{sentence}. {_against_baselines(run)}".strip()


def _against_baselines(run: Results) -> str:
    compared = [task for task in run.tasks if task.beats_baselines is not None]
    if not compared:
        return ""
    better = [task.name for task in compared if task.beats_baselines]
    if len(better) == len(compared):
        names = "Every task" if len(better) > 1 else f"The {better[0]} task"
        kinds = measured.baseline_names(compared)
        listed = " and ".join(filter(None, [", ".join(kinds[:-1]), kinds[-1]]))
        return f"{names} is below its {listed} baseline{'s' if len(kinds) > 1 else ''}."
    if better:
        return f"Below the baselines: {', '.join(better)}; {len(compared) - len(better)} not yet."
    return "No task is below its baselines yet."


def _where(run: Results) -> str:
    """Devices, layout and day of the last row."""
    known = [str(run.environment[name]) for name in ("devices", "layout") if name in run.environment]
    if run.rows:
        written = datetime.fromtimestamp(run.directory.metrics.stat().st_mtime)
        known.append(f"last row written {written:%Y-%m-%d %H:%M}")
    return ", ".join(known)


def _facts(run: Results) -> list[tuple[str, str]]:
    """The tiles under the headline: (name, value)."""
    newest, throughput = run.newest, _sentence(run.throughput_unit)
    facts = []
    for label, name in (("Held-out loss", f"{VALIDATION}loss"), ("Training loss", "loss")):
        if name in newest:
            facts.append((label, f"{newest[name]:.3f}"))
    for label, name, form in (
        (f"{throughput} per second", "tokens_per_second", formats.count),
        ("MFU", "mfu", formats.percent),
    ):
        if len(values_N := run.series(name).values_N):
            facts.append((f"{label}, median", form(float(np.median(values_N)))))
    if run.tokens:
        facts.append((f"{throughput} seen", formats.count(run.tokens)))
    if "host_memory_gib" in newest:
        facts.append(("Peak memory, host", f"{newest['host_memory_gib']:.2f} GiB"))
    if "device_memory_gib" in newest:
        facts.append(("Peak memory, device", f"{newest['device_memory_gib']:.2f} GiB"))
    if run.best:
        facts.append(("Best step", f"{run.best.step:,}"))
    if run.checkpoints:
        facts.append(("Newest checkpoint", f"step {run.checkpoints[-1]:,}"))
    if run.resumes:
        facts.append(("Resumed after step", ", ".join(f"{step:,}" for step in run.resumes)))
    return facts


def _below(tasks: list[TaskLosses]) -> str:
    """What a held-out loss in green is below."""
    return {1: "the baseline", 2: "both baselines"}.get(len(measured.baseline_names(tasks)), "all baselines")


def _losses(run: Results) -> list[Figure]:
    """The whole loss, then a figure per task with its baselines; one task alone is the whole."""
    whole = (
        [] if len(run.tasks) == 1 else [_loss(run, "loss", "All tasks" if run.tasks else "All examples", {})]
    )
    each = [_loss(run, f"loss/{task.name}", task.name, task.baselines) for task in run.tasks]
    return [figure for figure in whole + each if figure]


def _loss(run: Results, name: str, title: str, levels: Mapping[str, float]) -> Figure | None:
    train, held_out = run.curves(name)
    newest = (train, "train"), (held_out, "held-out")
    note = ", ".join(f"{what} {series.values_N[-1]:.3f}" for series, what in newest if len(series.values_N))
    return Figure(title, note, Markup(chart(train, held_out, levels, run.resumes))) if note else None


def _others(run: Results) -> list[Figure]:
    """What workload and evaluators measure besides losses, such as accuracy."""
    return [_other(run, metric) for metric in run.other_metrics]


def _other(run: Results, metric: Metric) -> Figure:
    newest = ("train", metric.train), ("held-out", metric.held_out)
    note = ", ".join(f"{what} {formats.plain(value)}" for what, value in newest if value is not None)
    svg = chart(*run.curves(metric.name), {}, run.resumes)
    return Figure(metric.name.replace("_", " "), f"{note} {metric.unit}".strip(), Markup(svg))


# Metric -> title (its unit where empty), and how it is drawn.
_TRAINING: dict[str, tuple[str, dict[str, Any]]] = {
    "learning_rate": ("Learning rate", {"from_zero": True, "smooth": False}),
    "grad_norm": ("Gradient norm, before clipping", {"log": True}),
    "tokens_per_second": ("", {"form": formats.count, "from_zero": True}),
    "mfu": ("Model FLOPs utilisation", {"form": formats.percent, "from_zero": True}),
    "host_memory_gib": ("Peak memory of the host process, GiB", {"from_zero": True, "smooth": False}),
    "device_memory_gib": ("Peak memory of the fullest device, GiB", {"from_zero": True, "smooth": False}),
}


def _training(run: Results) -> list[Figure]:
    figures = []
    for name, (title, how) in _TRAINING.items():
        series = run.series(name)
        if how.get("log"):
            series = Series(*(array[series.values_N > 0] for array in series))
        if len(series.steps_N):
            newest = how.get("form", formats.plain)(series.values_N[-1])
            title = title or _sentence(f"{run.throughput_unit} per second")
            figures.append(Figure(title, f"last {newest}", Markup(chart(series, marks=run.resumes, **how))))
    return figures


def _sentence(words: str) -> str:
    return words[:1].upper() + words[1:]


def _last_step(series: Series) -> int | None:
    return int(series.steps_N[-1]) if len(series.steps_N) else None
