"""Pictures and captions from scratch: `multimodal/flickr8k.gin` by Flickr8k-CN, beside its controls.

Each run trains by the recipe and is measured by `eval/retrieval.gin` on the photos of val.txt. Controls:
captions of other photos ("shuffled"), a decoder that sees no picture ("blind"), machine-translated captions
in training and in measuring. CPU seconds are those of the whole process that trains, compiling included.

    python -m benchmarks.image_text                  # what is in docs/results/multimodal.json
    python -m benchmarks.image_text --train          # makes it; what is finished is not trained again
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
from pathlib import Path

from benchmarks import _rows
from benchmarks._rows import DATA, ROOT, Row

RESULTS = ROOT / "docs" / "results" / "multimodal.json"
RECIPE, MEASURED_BY = "multimodal/flickr8k.gin", "eval/retrieval.gin"
ARMS: dict[str, tuple[str, ...]] = {
    "written captions": (),
    "shuffled": ("pairs.shuffled=True",),
    "blind": ("ImageTextModel.blind=True",),
    "translated captions": ("pairs.captions='captions.zhb.txt'", "EncoderDecoder.vocab_size=1344"),
}
WAYS = ("text_to_image", "image_to_text")


def main(arguments: list[str] | None = None) -> None:
    """Prints the table; with --train makes it first."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--train", action="store_true", help="train what is not there yet")
    parser.add_argument("--arm", choices=ARMS, help="this one alone")
    parser.add_argument("--seeds", type=int, default=3, help="so many of each arm; 3")
    parser.add_argument("--run_dir", type=Path, default=Path("runs/image_text"), help="of the runs")
    parser.add_argument("--data_dir", type=Path, default=DATA, help="with multimodal/flickr8k_zh")
    parser.add_argument("--out", type=Path, default=RESULTS, help="the JSON")
    given = parser.parse_args(arguments)
    if given.train:
        photos = (given.data_dir / "multimodal" / "flickr8k_zh").resolve()
        for seed in range(given.seeds):
            for arm in [given.arm] if given.arm else ARMS:
                directory = given.run_dir / f"{arm.replace(' ', '_')}-seed{seed}"
                row = {"arm": arm, "seed": seed} | measured(directory, photos, ARMS[arm], seed)
                rows = {_key(row): row for row in [*_rows.read(given.out), row]}
                _rows.write(given.out, rows.values(), {"recipe": RECIPE, "measured_by": MEASURED_BY})
    if not given.out.is_file():
        raise SystemExit(f"{given.out} is not there: make it with --train")
    print(table(_rows.read(given.out)))


def measured(directory: Path, photos: Path, bindings: tuple[str, ...], seed: int) -> Row:
    """A run trained, unless it is finished, and measured."""
    done = directory / "image_text.json"
    if done.is_file():
        return json.loads(done.read_text())
    directory.mkdir(parents=True, exist_ok=True)
    given = [f"--gin.{binding}" for binding in bindings]
    command = [sys.executable, "-m", "pangu_jax.cli", "train", "--gin_file", RECIPE, "--json", "-"]
    command += ["--run_dir", str(directory), f"--gin.pairs.path={str(photos)!r}", f"--gin.train.seed={seed}"]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    made = subprocess.run([*command, *given], stdout=subprocess.PIPE, text=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    summary = json.loads(made.stdout)
    if not summary["finished"]:
        raise SystemExit(f"{directory} was stopped at step {summary['step']}: remove it, and it is made anew")
    command = [sys.executable, "-m", "pangu_jax.cli", "eval", "--gin_file", MEASURED_BY, "--json", "-"]
    made = subprocess.run(
        [*command, "--run_dir", str(directory)], stdout=subprocess.PIPE, text=True, check=True
    )
    value = json.loads(made.stdout)
    found: Row = {"steps": summary["step"], "cpu_seconds": round(seconds), "commit": _commit()}
    found |= {name: of for name, of in value.items() if name not in ("run_dir", "recipe", "step")}
    done.write_text(json.dumps(found))
    return found


def _commit() -> str:
    asked = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True)
    return asked.stdout.strip()


def _key(row: Row) -> tuple[str, int]:
    return row["arm"], row["seed"]


def table(rows: list[Row]) -> str:
    """In Markdown: each run, and the means of seeds."""
    lines = [
        "| arm | seed | T2I R@1, 5, 10 | median rank | I2T R@1, 5, 10 | nats, right | wrong - right (95%) "
        "| CIDEr | CPU s |",
        "| --- " * 9 + "|",
    ]
    for arm in ARMS:
        own = [row for row in rows if row["arm"] == arm]
        for row in own:
            recalls = [" / ".join(f"{row[f'recall_at_{k}'][way]:.1f}" for k in (1, 5, 10)) for way in WAYS]
            nats, (low, high) = row["caption_nats_per_character"], row["caption_gap_interval_95"]
            gap = f"{nats['wrong_image'] - nats['right_image']:.3f} ({low:.3f} to {high:.3f})"
            rank = f"{row['median_rank'][WAYS[0]]:.0f}"
            cells = [recalls[0], rank, recalls[1], f"{nats['right_image']:.3f}", gap]
            cells += [f"{row['captions']['cider']:.1f}", str(row["cpu_seconds"])]
            lines.append(f"| {arm} | {row['seed']} | {' | '.join(cells)} |")
        if len(own) > 1:
            tens = [row["recall_at_10"][WAYS[0]] for row in own]
            ranks = [row["median_rank"][WAYS[0]] for row in own]
            spread = f"{statistics.fmean(tens):.1f} ± {statistics.stdev(tens):.1f}"
            rank = statistics.fmean(ranks)
            lines.append(f"| {arm} | mean of {len(own)} | R@10 {spread} | {rank:.1f} | | | | | |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
