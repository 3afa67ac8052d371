"""Few labels: one trunk that discriminates and restores, beside each of its objectives alone.

Four runs of gin/vision/small.gin on CIFAR-10 that differ in their objectives and in nothing else (contrast,
masked pixels, denoising, and all three), with several seeds. Then, with five draws of 500 and of 5,000
labels, the same for all: a linear probe and nearest neighbours on frozen features, all weights tuned at 500,
and the PSNR of taking noise away. Beside them raw pixels, random weights, training from scratch on the same
labels, and a Gaussian blur.

    python -m benchmarks.few_labels                    # what is in docs/results/vision_few_labels.json
    python -m benchmarks.few_labels --train --run_dir runs/few_labels --data_dir ../shared/data

What is finished in the run directory is not done again.
"""

import argparse
import json
import resource
import subprocess
import sys
from pathlib import Path

from benchmarks import _few_labels_results as results
from benchmarks import _rows
from benchmarks._rows import DATA, ROOT

RESULTS = ROOT / "docs" / "results" / "vision_few_labels.json"
ALONE = ("images.views=1", "images.plain_augment=None", "images.augment=[@RandomCrop(), @plain/Flip()]")
ARMS: dict[str, tuple[str, ...]] = {
    "contrast": ("VisionModel.objectives=[@NeighbourContrast()]", "images.plain_augment=None"),
    "masked": ("VisionModel.objectives=[@MaskedPixels()]", *ALONE),
    "denoising": ("VisionModel.objectives=[@Restoration()]", *ALONE),
    "joint": (),
}


def main(arguments: list[str] | None = None) -> None:
    """Prints the tables; with --train makes them first."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--train", action="store_true", help="train the four arms and measure them")
    parser.add_argument("--run_dir", type=Path, default=Path("runs/few_labels"), help="of the runs")
    parser.add_argument("--data_dir", type=Path, default=DATA, help="with vision/cifar10")
    parser.add_argument("--out", type=Path, default=RESULTS, help="the JSON")
    parser.add_argument("--seeds", type=int, default=3, help="of pre-training, so many from 0")
    parser.add_argument("--gin", action="append", default=[], metavar="NAME=VALUE", help="for all arms")
    given = parser.parse_args(arguments)
    if given.train:
        from benchmarks import _few_labels_scoring as scoring

        pictures = (given.data_dir / "vision" / "cifar10").resolve()
        arms, measured = {}, []
        for seed in range(given.seeds):
            own = given.run_dir / str(seed)
            arms[seed] = {arm: train(arm, own, pictures, [*given.gin, f"train.seed={seed}"]) for arm in ARMS}
            runs = {arm: own / arm for arm in ARMS}
            measured.append(scoring.measure(runs, pictures, own / "measured", seed, _say))
        found = results.found(arms, measured)
        _rows.write(given.out, found.pop("rows"), found)
    if not given.out.is_file():
        raise SystemExit(f"{given.out} is not there: make it with --train")
    print(results.table(json.loads(given.out.read_text())))


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


if __name__ == "__main__":
    main()
