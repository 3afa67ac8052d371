"""What a run directory tells of its run: series, sessions, a line a task."""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pangu_jax.errors import UserError
from pangu_jax.runs import metrics
from pangu_jax.runs.run_directory import RunDirectory

VALIDATION = "validation_"


class Series(NamedTuple):
    """One metric over the run.

    Attributes:
      steps_N: int64 optimizer steps.
      values_N: float64, finite.
    """

    steps_N: np.ndarray
    values_N: np.ndarray


class Task(NamedTuple):
    """Losses of one task of the mixture in nats a token; None where it was not measured.

    `unigram` and `bigram` are the add-one baselines on the same held-out tokens.
    """

    name: str
    train: float | None
    validation: float | None
    unigram: float | None
    bigram: float | None

    @property
    def perplexity(self) -> float | None:
        """exp of the held-out loss; infinity where that overflows."""
        if self.validation is None:
            return None
        return math.exp(self.validation) if self.validation < 700 else math.inf

    @property
    def beats_baselines(self) -> bool | None:
        """Whether the held-out loss is below all baselines there are; None without either."""
        baselines = [value for value in (self.unigram, self.bigram) if value is not None]
        if self.validation is None or not baselines:
            return None
        return self.validation < min(baselines)


@dataclass(frozen=True)
class Results:
    """All that was read from a run directory; what is missing there is empty here.

    Attributes:
      directory: where the run is.
      rows: of metrics.jsonl, in order.
      baselines: task -> {"unigram": nats, "bigram": nats}.
      samples: {"task", "prompt", "output", "reference"} each, texts of the model and of the data.
      environment: what `environment.describe` wrote.
      recipe: text of the resolved recipe.
    """

    directory: RunDirectory
    rows: list[dict[str, Any]]
    baselines: dict[str, dict[str, float]]
    samples: list[dict[str, str]]
    environment: dict[str, Any]
    recipe: str

    @cached_property
    def names(self) -> list[str]:
        """Every metric of the rows, in order of appearance."""
        return list(dict.fromkeys(name for row in self.rows for name in row if name != "step"))

    def series(self, name: str) -> Series:
        """The finite values of a metric; empty when there are none."""
        points = [(row["step"], row[name]) for row in self.rows if _is_number(row.get(name))]
        steps, values = zip(*points, strict=True) if points else ((), ())
        return Series(np.array(steps, np.int64), np.array(values, np.float64))

    @cached_property
    def newest(self) -> dict[str, float]:
        """The last finite value of every metric."""
        return {
            name: row[name] for row in self.rows for name in row if name != "step" and _is_number(row[name])
        }

    @cached_property
    def tasks(self) -> list[Task]:
        """A line a task, newest values."""
        return tasks(self.newest, self.baselines)

    @property
    def step(self) -> int:
        """The last step on record; 0 when there is none."""
        return max((row["step"] for row in self.rows), default=0)

    @property
    def steps(self) -> int | None:
        """What the recipe asks for: `train.steps = 60`, or `train.steps = %STEPS  # 60`."""
        found = re.search(r"^train\.steps = .*?(\d+)$", self.recipe, re.MULTILINE)
        return int(found[1]) if found else None

    @cached_property
    def resumes(self) -> list[int]:
        """Steps from which the run went on in a new process, as run.log tells (see `train`)."""
        log = self.directory.log
        text = log.read_text("utf-8", errors="replace") if log.is_file() else ""
        steps = {int(step) for step in re.findall(r": resuming .* from step (\d+)$", text, re.MULTILINE)}
        return sorted(step for step in steps if step < self.step)

    @property
    def seconds(self) -> float:
        """Wall time of all sessions together, start-up and validation included; each counts from 0."""
        steps_N, seconds_N = self.series("seconds")
        if not len(steps_N):
            return 0.0
        ends = np.searchsorted(steps_N, [*self.resumes, self.step], side="right") - 1
        return float(seconds_N[np.unique(ends[ends >= 0])].sum())

    @property
    def tokens(self) -> float | None:
        """Positions worked on so far, padding included; None before throughput was measured."""
        if not {"tokens_per_second", "step_seconds"} <= self.newest.keys():
            return None
        return self.newest["tokens_per_second"] * self.newest["step_seconds"] * self.step

    @property
    def checkpoints(self) -> list[int]:
        """Steps of the checkpoints that are kept, oldest first."""
        folder = self.directory.checkpoints
        names = [entry.name for entry in folder.iterdir()] if folder.is_dir() else []
        return sorted(int(name) for name in names if name.isdigit())


def read(run_dir: str | Path) -> Results:
    """Read a run directory, of a run that is over or still going.

    Raises:
      UserError: there is no run, or one of its files is damaged.
    """
    directory = RunDirectory(run_dir)
    if not directory.path.is_dir():
        raise UserError(f"there is no run directory {run_dir}; give the --run_dir of a `pangu train`")
    files = (directory.metrics, directory.recipe, directory.environment)
    if not any(file.is_file() for file in files):
        raise UserError(
            f"{run_dir} holds no run ({', '.join(file.name for file in files)} are all missing); "
            "give the --run_dir of a `pangu train`"
        )
    return Results(
        directory=directory,
        rows=metrics.read(directory.metrics),
        baselines=read_baselines(directory.baselines),
        samples=read_samples(directory.samples),
        environment=_read_json(directory.environment, {}),
        recipe=directory.previous_recipe() or "",
    )


def read_baselines(path: Path) -> dict[str, dict[str, float]]:
    """baselines.json: task -> {"unigram": nats, "bigram": nats}; {} when there is none."""
    found = _read_json(path, {})
    return {task: values for task, values in found.items() if isinstance(values, dict)}


def read_samples(path: Path) -> list[dict[str, str]]:
    """samples.json: a list of {"task", "prompt", "output", "reference"}; [] when there is none."""
    return [
        {name: str(sample.get(name) or "") for name in ("task", "prompt", "output", "reference")}
        for sample in _read_json(path, [])
        if isinstance(sample, dict)
    ]


def tasks(values: Mapping[str, Any], baselines: Mapping[str, Mapping[str, float]]) -> list[Task]:
    """A line for each `loss/TASK` or `validation_loss/TASK` in `values`, in their order."""
    prefixes = ("loss/", f"{VALIDATION}loss/")
    names = dict.fromkeys(
        name.removeprefix(prefix) for prefix in prefixes for name in values if name.startswith(prefix)
    )
    return [
        Task(
            name,
            _finite(values.get(f"loss/{name}")),
            _finite(values.get(f"{VALIDATION}loss/{name}")),
            _finite(baselines.get(name, {}).get("unigram")),
            _finite(baselines.get(name, {}).get("bigram")),
        )
        for name in names
    ]


def duration(seconds: float) -> str:
    """Such as `42 s`, `6 min 12 s` or `3 h 05 min`."""
    minutes, rest = divmod(round(seconds), 60)
    if minutes == 0:
        return f"{rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"


def _finite(value: Any) -> float | None:
    return value if _is_number(value) else None


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _read_json(path: Path, empty: Any) -> Any:
    """The JSON in a file, `empty` when there is no file; UserError when it is of another type."""
    if not path.is_file():
        return empty
    try:
        value = json.loads(path.read_bytes())
    except ValueError:
        value = None
    if not isinstance(value, type(empty)):
        kind = "object" if isinstance(empty, dict) else "list"
        raise UserError(f"{path} is damaged: no JSON {kind}; mend or delete it")
    return value
