"""What a run directory holds of its run: series, sessions, a line per task, exhibits."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pangu_jax.errors import UserError
from pangu_jax.runs import best_step, exhibit_files, measured, metrics, notices, sessions, units
from pangu_jax.runs.best_step import BestStep
from pangu_jax.runs.exhibit_files import Exhibits
from pangu_jax.runs.json_files import read_json
from pangu_jax.runs.measured import Metric, TaskLosses, is_number
from pangu_jax.runs.run_directory import RunDirectory
from pangu_jax.runs.sessions import Session
from pangu_jax.runs.units import NATS_PER_TOKEN, VALIDATION

SPEED = ("tokens_per_second", "mfu", "step_seconds")


class Series(NamedTuple):
    """One metric over the run.

    Attributes:
      steps_N: int64 optimizer steps.
      values_N: float64, finite.
    """

    steps_N: np.ndarray
    values_N: np.ndarray


@dataclass(frozen=True)
class Results:
    """All that was read from a run directory; what is missing there is empty here.

    Attributes:
      directory: where the run is.
      rows: of metrics.jsonl, in order.
      units: metric -> unit, of those that have one.
      sessions: oldest first.
      best: the step that counts; None where it is the last.
      baselines: task -> name -> held-out loss of predictors that are no model.
      exhibits: what the finished run shows.
      notices: what is to be told of its data, a line each.
      environment: what `environment.describe` wrote.
      recipe: text of the resolved recipe.
    """

    directory: RunDirectory
    rows: list[dict[str, Any]] = field(default_factory=list)
    units: dict[str, str] = field(default_factory=dict)
    sessions: list[Session] = field(default_factory=list)
    best: BestStep | None = None
    baselines: dict[str, dict[str, float]] = field(default_factory=dict)
    exhibits: Exhibits = field(default_factory=Exhibits)
    notices: list[str] = field(default_factory=list)
    environment: dict[str, Any] = field(default_factory=dict)
    recipe: str = ""

    @cached_property
    def names(self) -> list[str]:
        """Every metric of the rows, in order of appearance."""
        return list(dict.fromkeys(name for row in self.rows for name in row if name != "step"))

    @cached_property
    def in_training(self) -> frozenset[str]:
        """The metrics of training's rows, which all have a loss; all others were held out."""
        return frozenset(name for row in self.rows if "loss" in row for name in row)

    def series(self, name: str) -> Series:
        """The finite values of a metric; empty when there are none."""
        points = [(row["step"], row[name]) for row in self.rows if is_number(row.get(name))]
        steps, values = zip(*points, strict=True) if points else ((), ())
        return Series(np.array(steps, np.int64), np.array(values, np.float64))

    def curves(self, name: str) -> tuple[Series, Series]:
        """A metric's values in training and held out; each empty when there are none."""
        held_out = VALIDATION + name if VALIDATION + name in self.names else name
        if name in self.in_training:
            return self.series(name), self.series(VALIDATION + name)
        return Series(np.zeros(0, np.int64), np.zeros(0)), self.series(held_out)

    @cached_property
    def newest(self) -> dict[str, float]:
        """The last value of every metric; without those that were not finite there.

        Speed is not measured in every row: its last value stays.
        """
        last: dict[str, float] = {}
        for row in self.rows:
            for name, value in row.items():
                if is_number(value):
                    last[name] = value
                elif name not in SPEED:
                    last.pop(name, None)
        last.pop("step", None)
        return last

    @cached_property
    def tasks(self) -> list[TaskLosses]:
        """A line per task, newest values."""
        return measured.tasks(self.newest, self.baselines)

    @cached_property
    def other_metrics(self) -> list[Metric]:
        """What workload and evaluators measured besides losses, newest values."""
        return measured.other_metrics(self.newest, self.in_training, self.units)

    @property
    def loss_unit(self) -> str:
        """Of the loss and its parts; "" where it has none."""
        return units.unit_of("loss", self.units)

    @property
    def has_perplexity(self) -> bool:
        """Whether exp of the loss is the perplexity of a token."""
        return self.loss_unit == NATS_PER_TOKEN

    @property
    def throughput_unit(self) -> str:
        """What `tokens_per_second` counts."""
        return units.unit_of("tokens_per_second", self.units).removesuffix(" per second") or "tokens"

    @property
    def step(self) -> int:
        """The last step on record; 0 when there is none."""
        return max((row["step"] for row in self.rows), default=0)

    @property
    def steps(self) -> int | None:
        """What the last session was asked for; None where that is not on record."""
        return self.sessions[-1].steps if self.sessions else None

    @property
    def over(self) -> bool:
        """Whether the run is at its end, as far as that is on record."""
        ended = self.best is not None and self.best.ended
        return ended or self.steps is None or self.step >= self.steps

    @cached_property
    def resumes(self) -> list[int]:
        """Steps after which the run was continued in a new process."""
        return [step for step in sessions.resumes(self.sessions) if step < self.step]

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
    """Read a run directory, of a run that is over or still in training.

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
        units=units.read(directory),
        sessions=sessions.read(directory),
        best=best_step.read(directory),
        baselines=_read_baselines(directory.baselines),
        exhibits=exhibit_files.read(directory),
        notices=notices.read(directory),
        environment=read_json(directory.environment, {}),
        recipe=directory.previous_recipe() or "",
    )


def _read_baselines(path: Path) -> dict[str, dict[str, float]]:
    """baselines.json; {} when there is none."""
    found: dict[str, Any] = read_json(path, {})
    return {
        # Version 0.1 also kept how many tokens they were measured on.
        task: {name: value for name, value in losses.items() if name != "tokens"}
        for task, losses in found.items()
        if isinstance(losses, Mapping)
    }
