"""Power lines: insulators and defects in photos that are split by flight, and what is saved by screening.

Of five folds by group each is held out once: one model for both classes beside two models of one class each,
and, at few labels, photos that screening chose beside photos drawn at random. AP is COCO's, 101 points, by
pycocotools; CPU seconds are those of the whole process that trains and measures, compiling included.

    python -m benchmarks.powerline                      # what is in docs/results/vision_powerline.json
    python -m benchmarks.powerline --train --fold 1     # makes it: one fold, or all without --fold
    python -m benchmarks.powerline --train --arm screening --fold 1

A run that is finished is not trained again; one that was stopped resumes from its checkpoint.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks import _rows
from benchmarks._rows import DATA, ROOT, Row

RESULTS = ROOT / "docs" / "results" / "vision_powerline.json"
FOLDS = 5
CLASSES = ("insulator", "defect")
ARMS: dict[str, tuple[str, ...]] = {
    "both": (),
    "insulator alone": ("boxed_images.classes=('insulator',)",),
    "defect alone": ("boxed_images.classes=('defect',)",),
}
SCREENING = "screening"


def main(arguments: list[str] | None = None) -> None:
    """Prints the table; with --train makes it first."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--train", action="store_true", help="train what is not there yet")
    parser.add_argument("--fold", type=int, choices=range(FOLDS), help="this one alone")
    parser.add_argument(
        "--arm", choices=(*ARMS, SCREENING), help="this one alone; all but screening unless given"
    )
    parser.add_argument("--seed", type=int, default=0, help="of parameters and data order")
    parser.add_argument("--run_dir", type=Path, default=Path("runs/powerline"), help="of the runs")
    parser.add_argument("--data_dir", type=Path, default=DATA, help="with vision/cplid")
    parser.add_argument("--out", type=Path, default=RESULTS, help="the JSON")
    parser.add_argument("--gin", action="append", default=[], metavar="NAME=VALUE", help="for all runs")
    given = parser.parse_args(arguments)
    if given.train:
        photos = (given.data_dir / "vision" / "cplid" / "cplid_416.parquet").resolve()
        for fold in range(FOLDS) if given.fold is None else [given.fold]:
            for arm in [given.arm] if given.arm else ARMS:
                if arm == SCREENING:
                    from benchmarks import _powerline_screening

                    rows = _powerline_screening.rows(
                        fold, given.seed, given.run_dir, photos, given.gin, train
                    )
                else:
                    directory = given.run_dir / f"{arm.replace(' ', '_')}-fold{fold}-seed{given.seed}"
                    bindings = [
                        *ARMS[arm],
                        f"boxed_images.fold={fold}",
                        f"train.seed={given.seed}",
                        *given.gin,
                    ]
                    rows = [
                        {"arm": arm, "fold": fold, "seed": given.seed} | train(directory, photos, bindings)
                    ]
                write(given.out, rows)
    if not given.out.is_file():
        raise SystemExit(f"{given.out} is not there: make it with --train")
    print(table(_rows.read(given.out)))


def train(directory: Path, photos: Path, bindings: list[str]) -> Row:
    """AP by class, steps and CPU seconds of a run; trained unless it is finished."""
    done = directory / "powerline.json"
    if done.is_file():
        return json.loads(done.read_text())
    directory.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "pangu_jax.cli", "train", "--gin_file", "vision/powerline.gin"]
    command += ["--json", "-", "--run_dir", str(directory), f"--gin.boxed_images.path={str(photos)!r}"]
    command += [f"--gin.{binding}" for binding in bindings]
    spent = directory / "cpu_seconds.json"  # of all sessions of the run
    seconds = json.loads(spent.read_text()) if spent.is_file() else 0.0
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    try:
        made = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    finally:
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds += after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        spent.write_text(json.dumps(seconds))
    summary = json.loads(made.stdout)
    if not summary["finished"]:
        raise SystemExit(f"{directory} was stopped at step {summary['step']}: the same command goes on")
    rows = [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]
    last = next(row for row in reversed(rows) if any(name.startswith("ap50/") for name in row))
    found: Row = {"steps": summary["step"], "cpu_seconds": round(seconds), "bindings": _shown(bindings)}
    for at in (50, 30):
        for name in CLASSES:
            if f"ap{at}/{name}" in last:
                found[f"ap{at} {name}"] = round(last[f"ap{at}/{name}"], 2)
    done.write_text(json.dumps(found))
    return found


def _shown(bindings: list[str]) -> list[str]:
    """Those that say what was trained, and not where it lies."""
    places = ("boxed_images.cache_dir", "boxed_images.labelled", "boxed_images.fold", "train.seed")
    return [binding for binding in bindings if binding.partition("=")[0] not in places]


def write(path: Path, rows: list[Row]) -> None:
    """Rows beside those that are there; one of the same arm, fold, seed and labels is replaced."""
    _rows.write(path, {_key(row): row for row in [*_rows.read(path), *rows]}.values(), {})


def _key(row: Row) -> tuple[Any, ...]:
    return row["arm"], row["fold"], row["seed"], row.get("labels")


def table(rows: list[Row]) -> str:
    """In Markdown: each row, and the mean and standard deviation of folds."""
    columns = [f"ap{at} {name}" for at in (50, 30) for name in CLASSES]
    lines = [f"| arm | fold | seed | labels | {' | '.join(columns)} | CPU s |", "| --- " * 9 + "|"]
    for row in rows:
        cells = [f"{row[name]:.1f}" if name in row else "" for name in columns]
        first = (row["arm"], row["fold"], row["seed"], row.get("labels", "all"))
        lines.append(f"| {' | '.join([*map(str, first), *cells, str(row['cpu_seconds'])])} |")
    for arm in ARMS:
        own = [row for row in rows if row["arm"] == arm]
        if len(own) > 1:
            cells = [_spread([row[name] for row in own if name in row]) for name in columns]
            spent = _spread([row["cpu_seconds"] for row in own])
            lines.append(f"| {' | '.join([arm, f'mean of {len(own)}', '', 'all', *cells, spent])} |")
    return "\n".join(lines)


def _spread(values: list[float]) -> str:
    if len(values) < 2:
        return ""
    return f"{statistics.fmean(values):.1f} ± {statistics.stdev(values):.1f}"


if __name__ == "__main__":
    main()
