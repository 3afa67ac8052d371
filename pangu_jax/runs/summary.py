"""What `pangu train` says at its end: a table, a few samples, where the report is."""

import io
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from pangu_jax.runs import results
from pangu_jax.runs.results import Task

SAMPLES = 4  # more are in the report
SHOWN = 120  # characters of each


def summary_table(
    summary: Mapping[str, Any],
    baselines: Mapping[str, Mapping[str, float]],
    samples: Sequence[Mapping[str, str]] = (),
    report: Path | None = None,
    width: int | None = None,
) -> str:
    """A run's result as plain text for a terminal or a log.

    Args:
      summary: of the loop: `step`, `steps`, `seconds`, newest metrics; whatever is missing is left out.
      baselines: task -> {"unigram": nats, "bigram": nats}.
      samples: {"task", "prompt", "output", "reference"} each; the first SAMPLES are shown.
      report: path of report.html.
      width: columns; those of the terminal when None.
    """
    parts = [Text(_first_line(summary))]
    if tasks := results.tasks(summary, baselines):
        parts += [Text(), _losses(tasks)]
    if samples:
        parts += [Text(), _samples(samples[:SAMPLES])]
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


def _first_line(summary: Mapping[str, Any]) -> str:
    step, steps = summary.get("step", 0), summary.get("steps")
    said = [f"step {step:,} of {steps:,}" if steps else f"step {step:,}"]
    for name, form in (
        ("seconds", results.duration),
        ("tokens_per_second", "{:,.0f} tokens/s".format),
        ("mfu", "MFU {:.1%}".format),
        ("loss", "loss {:.3f}".format),
        ("validation_loss", "held-out loss {:.3f}".format),
    ):
        if (value := summary.get(name)) is not None:
            said.append(form(value))
    if steps and (step < steps or not summary.get("finished", True)):
        said.append("stopped early: the same command goes on")
    return ", ".join(said)


def _losses(tasks: Sequence[Task]) -> Table:
    table = Table(
        box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, title="loss, nats a token", title_justify="left"
    )
    table.add_column("task")
    for column in ("train", "held-out", "perplexity", "unigram", "bigram"):
        table.add_column(column, justify="right")
    table.add_column("")
    verdicts = {True: "below both baselines", False: "not below both baselines", None: ""}
    for task in tasks:
        table.add_row(
            Text(task.name),
            _number(task.train),
            _number(task.validation),
            _number(task.perplexity, "{:,.1f}"),
            _number(task.unigram),
            _number(task.bigram),
            verdicts[task.beats_baselines],
        )
    return table


def _samples(samples: Sequence[Mapping[str, str]]) -> Table:
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for sample in samples:
        # Text, not str: brackets in what the model wrote are no markup.
        table.add_row(
            Text(f"{sample.get('task') or 'sample'}, prompt"), Text(_shortened(sample.get("prompt") or ""))
        )
        table.add_row(Text("  output"), Text(_shortened(sample.get("output") or "(nothing)")))
        if reference := sample.get("reference"):
            table.add_row(Text("  reference"), Text(_shortened(reference)))
    return table


def _shortened(text: str) -> str:
    """The beginning and the end of a long text, which is whole in the report."""
    return text if len(text) <= SHOWN else f"{text[: SHOWN // 2]} … {text[-SHOWN // 2 :]}"


def _number(value: float | None, form: str = "{:.3f}") -> str:
    return "–" if value is None else form.format(value)
