"""What `pangu train` says at its end: a table, a few samples, where the report is."""

import io
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text, TextType

from pangu_jax.runs import formats, measured
from pangu_jax.runs.measured import TaskLosses
from pangu_jax.runs.results import Results
from pangu_jax.workloads import exhibits
from pangu_jax.workloads.exhibits import Text as Sample

SAMPLES = 4  # more are in the report
SHOWN = 120  # characters of each
ROWS = 8  # of each table


def summary_table(
    summary: Mapping[str, Any],
    run: Results | None = None,
    report: Path | None = None,
    width: int | None = None,
) -> str:
    """A run's result as plain text for a terminal or a log.

    Args:
      summary: of the loop: `step`, `steps`, `seconds`, newest metrics; whatever is missing is left out.
      run: its directory; tables, samples and pictures are those that are there.
      report: path of report.html.
      width: columns; those of the terminal when None.
    """
    parts: list[RenderableType] = [Text(_first_line(summary, run))]
    parts += [Text(notice, overflow="fold") for notice in run.notices] if run else []
    for part in _of_directory(run) if run else []:
        parts += [Text(), part]
    if report:
        parts += [Text(), Text(f"report: {report}", overflow="fold", no_wrap=True)]
    stream = io.StringIO()
    columns = width or shutil.get_terminal_size((100, 24)).columns
    # In a notebook rich would show the table at once, and leave nothing in the stream.
    console = Console(
        file=stream, width=columns, color_system=None, force_terminal=False, force_jupyter=False
    )
    console.print(Group(*parts))
    return "\n".join(line.rstrip() for line in stream.getvalue().splitlines())


def _of_directory(run: Results) -> Iterator[RenderableType]:
    """What is there of losses, other metrics, samples, tables and pictures."""
    if run.tasks:
        yield _losses(run)
    if run.other_metrics:
        yield _other_metrics(run)
    if run.exhibits.texts:
        yield _samples(run.exhibits.texts[:SAMPLES])
    for table in run.exhibits.tables:
        yield _table(table)
    if count := len(run.exhibits.pictures):
        yield Text(f"{count} picture{'s' if count > 1 else ''} in the report")


def _first_line(summary: Mapping[str, Any], run: Results | None) -> str:
    step, steps = summary.get("step", 0), summary.get("steps")
    said = [f"step {step:,} of {steps:,}" if steps else f"step {step:,}"]
    for name, form in (
        ("seconds", formats.duration),
        ("tokens_per_second", f"{{:,.0f}} {run.throughput_unit if run else 'tokens'}/s".format),
        ("mfu", "MFU {:.1%}".format),
        ("loss", "loss {:.3f}".format),
        ("validation_loss", "held-out loss {:.3f}".format),
    ):
        if (value := summary.get(name)) is not None:
            said.append(form(value))
    if run and run.loss_unit and not run.tasks and "loss" in summary:  # no table says it
        said[-1] += f" {run.loss_unit}"
    if best := summary.get("best_step"):
        said.append(f"best step {best:,}")
    if steps and not summary.get("finished", step >= steps):
        said.append("stopped early: the same command resumes it")
    return ", ".join(said)


def _losses(run: Results) -> Table:
    names = measured.baseline_names(run.tasks)
    table = _numbers(Text("loss" + (f", {run.loss_unit}" if run.loss_unit else "")), "task")
    for column in ("train", "held-out", *(["perplexity"] if run.has_perplexity else []), *names):
        table.add_column(Text(column), justify="right")
    table.add_column("")
    for task in run.tasks:
        table.add_row(
            Text(task.name),
            _number(task.train),
            _number(task.validation),
            *([_number(task.perplexity, "{:,.1f}")] if run.has_perplexity else []),
            *[_number(task.baselines.get(name)) for name in names],
            _verdict(task),
        )
    return table


def _verdict(task: TaskLosses) -> str:
    if task.beats_baselines is None:
        return ""
    of_all = {1: "the baseline", 2: "both baselines"}.get(len(task.baselines), "all baselines")
    return f"{'' if task.beats_baselines else 'not '}below {of_all}"


def _other_metrics(run: Results) -> Table:
    table = _numbers("other metrics", "metric")
    for column in ("train", "held-out"):
        table.add_column(column, justify="right")
    table.add_column("")
    for metric in run.other_metrics:
        values = formats.cell(metric.train), formats.cell(metric.held_out)
        table.add_row(Text(metric.name), *values, Text(metric.unit))
    return table


def _table(shown: exhibits.Table) -> Table:
    headings = [Text(heading) for heading in shown.headings]
    table = _numbers(Text(shown.title), headings[0] if headings else "")
    for heading in headings[1:]:
        table.add_column(heading, justify="right")
    for row in shown.rows[:ROWS]:
        table.add_row(*[Text(formats.cell(value)) for value in row])
    if (more := len(shown.rows) - ROWS) > 0:
        table.caption, table.caption_justify = f"and {more} more", "left"
    return table


def _numbers(title: TextType, first: TextType) -> Table:
    """A table whose first column names what the others are numbers of."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, title=title, title_justify="left")
    table.add_column(first)
    return table


def _samples(samples: Sequence[Sample]) -> Table:
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for sample in samples:
        # Text, not str: brackets in what the model wrote are no markup.
        table.add_row(Text(f"{sample.task or 'sample'}, prompt"), Text(_shortened(sample.prompt)))
        table.add_row(Text("  output"), Text(_shortened(sample.output or "(nothing)")))
        if sample.drawn:
            table.add_row(Text("  drawn"), Text(_shortened(sample.drawn)))
        if sample.reference:
            table.add_row(Text("  reference"), Text(_shortened(sample.reference)))
    return table


def _shortened(text: str) -> str:
    """The beginning and the end of a long text, which is whole in the report."""
    return text if len(text) <= SHOWN else f"{text[: SHOWN // 2]} … {text[-SHOWN // 2 :]}"


def _number(value: float | None, form: str = "{:.3f}") -> str:
    return "–" if value is None else form.format(value)
