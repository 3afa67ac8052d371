"""Few labels: one trunk that discriminates and restores, beside each of its objectives alone.

Four runs of gin/vision/small.gin on CIFAR-10 that differ in their objectives and in nothing else: contrast,
masked pixels, denoising, and all three. Then, with five draws of 500 and of 5,000 labels, the same for all:
a probe by least squares on frozen features, fine-tuning at 500, and the PSNR of taking noise away. Beside
them raw pixels, random weights, training from scratch on the same labels, and a Gaussian blur.

    python -m benchmarks.few_labels                    # what is in docs/results/vision_few_labels.json
    python -m benchmarks.few_labels --train --run_dir runs/few_labels --data_dir ../shared/data

An arm whose run directory is finished is not trained again.
"""

import argparse
import json
import math
import os
import resource
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "docs" / "results" / "vision_few_labels.json"
DATA = Path(os.environ.get("PANGU_DATA_DIR") or ROOT / "../shared/data")
ALONE = ("images.views=1", "images.plain_augment=None", "images.augment=[@RandomCrop(), @plain/Flip()]")
ARMS: dict[str, tuple[str, ...]] = {
    "contrast": ("VisionModel.objectives=[@NeighbourContrast()]", "images.plain_augment=None"),
    "masked": ("VisionModel.objectives=[@MaskedPixels()]", *ALONE),
    "denoising": ("VisionModel.objectives=[@Restoration()]", *ALONE),
    "joint": (),
}


def main(arguments: list[str] | None = None) -> None:
    """Prints the table; with --train makes it first."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--train", action="store_true", help="train the four arms and measure them")
    parser.add_argument("--run_dir", type=Path, default=Path("runs/few_labels"), help="of the runs")
    parser.add_argument("--data_dir", type=Path, default=DATA, help="with vision/cifar10")
    parser.add_argument("--out", type=Path, default=RESULTS, help="the JSON")
    parser.add_argument("--gin", action="append", default=[], metavar="NAME=VALUE", help="for all arms")
    given = parser.parse_args(arguments)
    if given.train:
        from benchmarks import _few_labels_scoring as scoring

        pictures = (given.data_dir / "vision" / "cifar10").resolve()
        trained = {arm: train(arm, given.run_dir, pictures, given.gin) for arm in ARMS}
        measured = scoring.measure({arm: given.run_dir / arm for arm in ARMS}, pictures, _say)
        parameters = measured.pop("parameters")
        arms = {arm: own | {"parameters": parameters[arm]} for arm, own in trained.items()}
        found = {"arms": arms, **measured}
        given.out.parent.mkdir(parents=True, exist_ok=True)
        given.out.write_text(_json(found))
    if not given.out.is_file():
        raise SystemExit(f"{given.out} is not there: make it with --train")
    print(table(json.loads(given.out.read_text())))


def train(arm: str, run_dir: Path, pictures: Path, more: list[str]) -> dict[str, object]:
    """Steps, CPU seconds of the process and parameters of an arm; trained unless it is finished."""
    done = run_dir / f"{arm}.json"
    if done.is_file():
        return json.loads(done.read_text())
    run_dir.mkdir(parents=True, exist_ok=True)
    bindings = [f"images.path={str(pictures)!r}", *ARMS[arm], *more]
    command = [
        sys.executable,
        "-m",
        "pangu_jax.cli",
        "train",
        "--gin_file",
        "vision/small.gin",
        "--json",
        "-",
    ]
    command += ["--run_dir", str(run_dir / arm), *(f"--gin.{binding}" for binding in bindings)]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    made = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    summary = json.loads(made.stdout)
    found = {"step": summary["step"], "cpu_seconds": round(seconds), "bindings": list(ARMS[arm]) + more}
    done.write_text(json.dumps(found))
    return found


def _say(line: str) -> None:
    print(line, flush=True)


def _json(found: dict[str, object]) -> str:
    """A row of `rows` a line."""
    rows = ",\n".join(f"  {json.dumps(row)}" for row in found["rows"])
    rest = {name: value for name, value in found.items() if name != "rows"}
    return json.dumps(rest, indent=1)[:-2] + f',\n "rows": [\n{rows}\n ]\n}}\n'


def table(found: dict[str, Any]) -> str:
    """In Markdown, as docs/images.md has it: means over draws, and standard errors of them."""
    columns = (("probe", 500), ("probe", 5000), ("fine-tuned", 500))
    lines = ["| arm | probe, 1% | probe, 10% | all weights, 1% | PSNR | CPU min |", "| --- " * 6 + "|"]
    for arm in dict.fromkeys(row["arm"] for row in found["rows"]):
        own = [row for row in found["rows"] if row["arm"] == arm]
        cells = [
            _cell([r["accuracy"] for r in own if (r["how"], r["labels"]) == column]) for column in columns
        ]
        psnr = next((f"{row['psnr']:.2f}" for row in own if row["psnr"] is not None), "")
        spent = found["arms"].get(arm, {}).get("cpu_seconds")
        lines.append(f"| {' | '.join([arm, *cells, psnr, f'{spent / 60:.1f}' if spent else ''])} |")
    lines += [
        "",
        "| joint minus | labels | points | standard error | 95% over test pictures |",
        "| --- " * 5 + "|",
    ]
    for row in found["differences"]:
        named = f"{row['second']}, {row['how']} | {row['labels']}"
        low, high = row["bootstrap"]
        lines.append(
            f"| {named} | {row['mean']:+.1f} | {row['standard_error']:.1f} | {low:+.1f} to {high:+.1f} |"
        )
    total = sum(arm["cpu_seconds"] for arm in found["arms"].values()) / 60
    return "\n".join([*lines, "", f"{total:.0f} CPU minutes of training in all"])


def _cell(values: list[float]) -> str:
    if not values:
        return ""
    error = statistics.stdev(values) / math.sqrt(len(values))
    return f"{statistics.fmean(values):.1f} ± {error:.1f}"


if __name__ == "__main__":
    main()
