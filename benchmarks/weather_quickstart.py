"""Forecasts of the simulated atmosphere by `science/quickstart.gin`, beside persistence, climate and linear
maps.

Of each seed a network is trained for every step length, by the recipe with another `fields.lead_hours`; all
forecast from the same held-out days on the whole grid, leads longer than a step by calls one after the other,
and by the fewest calls over all step lengths (24 + 6 + 6 for 36 h). A linear map is fitted for each step
length on the days that the networks learn from (`apps/science/linear_map.py`). RMSE by area, "all" in units
of each variable's deviation on its level. CPU seconds are those of the whole process that trains: a
simulation that was not there yet, compiling, checkpoints and report.

    python -m benchmarks.weather_quickstart                  # what is in docs/results/weather.json
    python -m benchmarks.weather_quickstart --train          # makes it; what is finished is not trained again
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import jax
import numpy as np

from benchmarks import _rows
from benchmarks._rows import ROOT, Row
from benchmarks._weather_scores import POOLED, HeldOut, Step
from data_pipelines.fields.field_set import FieldSet
from pangu_jax import recipes
from pangu_jax.apps.science import linear_map
from pangu_jax.runs import opening
from pangu_jax.workloads import RunContext

RESULTS = ROOT / "docs" / "results" / "weather.json"
RECIPE = "science/quickstart.gin"
LEADS = (6, 12, 24, 36, 48, 72, 96, 120)
STEPS = (24, 6)
SHOWN = (24, 72, 120)
MAPS = {"linear map": False, "linear map by wave number": True}


def main(arguments: list[str] | None = None) -> None:
    """Prints the table; with --train makes it first."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--train", action="store_true", help="train what is not there yet")
    parser.add_argument("--seeds", type=int, default=3, help="so many of each step length; 3")
    parser.add_argument("--step_hours", type=int, nargs="+", default=STEPS, help="step lengths; 24 6")
    parser.add_argument("--run_dir", type=Path, default=Path("runs/weather"), help="of the runs")
    parser.add_argument("--out", type=Path, default=RESULTS, help="the JSON")
    given = parser.parse_args(arguments)
    if given.train:
        made = measured(given.run_dir, range(given.seeds), given.step_hours)
        _rows.write(
            given.out, made, {"recipe": RECIPE, "days": "held out, see benchmarks/_weather_scores.py"}
        )
    if not given.out.is_file():
        raise SystemExit(f"{given.out} is not there: make it with --train")
    print(table(_rows.read(given.out)))


def measured(directory: Path, seeds: range, lengths: list[int]) -> list[Row]:
    """Rows of all models."""
    trained = [train(directory / f"{hours}h-seed{seed}", hours, seed) for hours in lengths for seed in seeds]
    data = {hours: fields_of(hours) for hours in lengths}
    days = HeldOut(data[max(lengths)], max(LEADS))
    rows = days.still("persistence", days.start, LEADS)
    rows += days.still("climatology", days.climate(), LEADS)
    for hours in lengths:
        for name, zonal in MAPS.items():
            rows += days.rows(name, {hours: fitted(data[hours], zonal).step}, LEADS, None)
    for seed in seeds:
        steps: dict[int, Step] = {}
        for hours in lengths:
            steps[hours] = network(directory / f"{hours}h-seed{seed}")
            rows += days.rows("network", {hours: steps[hours]}, LEADS, seed)
        rows += days.rows("networks, fewest calls", steps, LEADS, seed)
    print(f"{len(days)} held-out starts; trained: {json.dumps(trained)}")
    return rows


def train(directory: Path, hours: int, seed: int) -> Row:
    """A run by the recipe, unless it is finished: CPU and wall seconds."""
    done = directory / "weather.json"
    if done.is_file():
        return json.loads(done.read_text())
    directory.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "pangu_jax.cli", "train", "--gin_file", RECIPE, "--json", "-"]
    command += ["--run_dir", str(directory), f"--gin.train.seed={seed}", f"--gin.fields.lead_hours={hours}"]
    before, begun = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    made = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    summary = json.loads(made.stdout)
    if not summary["finished"]:
        raise SystemExit(f"{directory} was stopped at step {summary['step']}: remove it, and it is made anew")
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    row = {
        "step_hours": hours,
        "seed": seed,
        "steps": summary["step"],
        "cpu_seconds": round(cpu),
        "seconds": round(time.monotonic() - begun),
    }
    done.write_text(json.dumps(row))
    return row


def fields_of(hours: int) -> FieldSet:
    """The recipe's fields with another lead."""
    recipe = recipes.load([RECIPE], [f"fields.lead_hours={hours}"])
    return recipes.make(recipe, recipes.Reference("", "fields", True))


def fitted(data: FieldSet, zonal: bool) -> linear_map.LinearMap:
    """The linear map of the days that networks learn from, of all cells or by wave number."""
    store, places = data.store, data.sides[0]
    later = [store.place_of[int(store.hours_N[place]) + data.lead_hours] for place in places]
    deviations = data.statistics.upper_std_LxU, data.statistics.surface_std_S
    found = linear_map.fit(store.read, places.tolist(), later, deviations, data.grid.weights_H, zonal)
    print(
        f"linear map of {data.lead_hours} h{', by wave number' if zonal else ''}: "
        f"{found.components} components, "
        f"ridge {found.ridge:g}",
        flush=True,
    )
    return found


def network(directory: Path) -> Step:
    """The step of a finished run."""
    run = opening.open_run(directory, family="science")
    context: RunContext = run.spread.run

    @partial(jax.jit)
    def step(upper: jax.Array, surface: jax.Array) -> tuple[jax.Array, jax.Array]:
        return run.workload.step(run.variables, upper, surface, context)

    return lambda upper, surface: tuple(np.asarray(part) for part in step(upper, surface))


def table(rows: list[Row]) -> str:
    """In Markdown: RMSE by lead, networks as means over seeds."""
    names = list(dict.fromkeys(row["variable"] for row in rows))
    lines = [f"| lead | model | step | calls | {' | '.join(names)} |", "| --- " * (4 + len(names)) + "|"]
    for lead in SHOWN:
        own = [row for row in rows if row["lead_hours"] == lead]
        for model, hours, calls in dict.fromkeys((r["model"], r["step_hours"], r["calls"]) for r in own):
            same = [r for r in own if (r["model"], r["step_hours"], r["calls"]) == (model, hours, calls)]
            means = {n: statistics.fmean(r["rmse"] for r in same if r["variable"] == n) for n in names}
            cells = [f"{value:.{3 if name == POOLED else 2}f}" for name, value in means.items()]
            step = f"{hours} h" if calls else ""
            lines.append(f"| {lead} h | {model} | {step} | {calls or ''} | {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
