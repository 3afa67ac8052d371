"""One bit: is asking "is it a cat?" worth more than asking "what is it?", bit for bit?

Tiny-ImageNet, 100 classes at 32 pixels: a pool of 20,000 pictures, 5,000 held out, on the frozen features of
a trunk that has seen no label (gin/vision/small.gin). Every arm begins with the same labels and spends the
same bits per round; a full label is log2 100 = 6.64 bits, a yes or no is 1, and the start set is counted.
Seeds draw the start set, the questions and the weights; arms are paired by them. Then learning from labels of
which 40% are wrong, by self-paced weights and their controls.

    python -m benchmarks.one_bit                       # what is in docs/results/vision_one_bit.json
    python -m benchmarks.one_bit --run_dir RUN --pictures DIR --work DIR --seeds 5

RUN: of gin/vision/small.gin. DIR of the pictures: train.parquet and val.parquet. A seed that has its rows is
not run again.
"""

import argparse
import dataclasses
import json
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks import _iteration_pool as pools
from benchmarks import _iteration_table as tables
from benchmarks import _rows
from pangu_jax.apps.vision.iteration.answers import KnownLabels
from pangu_jax.apps.vision.iteration.asking import FullLabel, OneBit
from pangu_jax.apps.vision.iteration.iterate import Rounds
from pangu_jax.apps.vision.iteration.label_losses import GeneralisedCrossEntropy
from pangu_jax.apps.vision.iteration.mean_teacher import MeanTeacher
from pangu_jax.apps.vision.iteration.mining import RandomPictures, UncertainPictures
from pangu_jax.apps.vision.iteration.oracle import reply
from pangu_jax.apps.vision.iteration.self_paced import SelfPaced

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "docs" / "results" / "vision_one_bit.json"
SHARE, BITS, ROUNDS = 0.25, 5000.0, 2
NOISE, NOISY = 0.4, "40% wrong labels"
ALL = "all labels"
SUPPRESSED, WITHOUT, FULL = "one bit, suppression", "one bit, without suppression", "full labels"
YES_ONLY = "one bit, yes only"
MINED, MINED_WITHOUT = "mined one bit, suppression", "mined one bit, without suppression"
BARS = (
    (SUPPRESSED, WITHOUT, 2.0),
    (MINED, MINED_WITHOUT, 2.0),
    (SUPPRESSED, FULL, -0.5),
    (MINED, FULL, -0.5),
    (SUPPRESSED, YES_ONLY, None),
    (MINED, SUPPRESSED, None),
)


def main(arguments: list[str] | None = None) -> None:
    """Prints the table; with --run_dir makes it first."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--run_dir", type=Path, help="the run whose trunk sees the pictures")
    parser.add_argument("--pictures", type=Path, help="folder with train.parquet and val.parquet")
    parser.add_argument("--work", type=Path, default=Path("runs/iteration"), help="where features are kept")
    parser.add_argument("--seeds", type=int, default=5, help="so many, from 0")
    parser.add_argument("--out", type=Path, default=RESULTS, help="the JSON")
    given = parser.parse_args(arguments)
    if given.run_dir:
        rows = _rows.read(given.out)
        for seed in range(given.seeds):
            if not any(row["seed"] == seed for row in rows):
                rows += measure(given.run_dir, given.pictures, given.work, seed)
                _rows.write(given.out, rows, about(given.run_dir))
    print(table(_rows.read(given.out)))


def about(run_dir: Path) -> dict[str, Any]:
    """What the rows are of."""
    return {"trunk": run_dir.name, "share": SHARE, "bits_per_round": BITS, "rounds": ROUNDS}


class Way(NamedTuple):
    """An arm: how it chooses, asks and learns."""

    mine: Any
    ask: Any
    learn: Any


def ways() -> dict[str, Way]:
    """The arms by name."""
    learn, some, bit = MeanTeacher(), RandomPictures(), OneBit()
    without = dataclasses.replace(learn, suppress=False)
    mined = UncertainPictures(by="bit", spread=1.0)
    return {
        SUPPRESSED: Way(some, bit, learn),
        WITHOUT: Way(some, bit, without),
        FULL: Way(some, FullLabel(), learn),
        MINED: Way(mined, bit, learn),
        MINED_WITHOUT: Way(mined, bit, without),
        YES_ONLY: Way(some, bit, dataclasses.replace(learn, consistency=0.0)),
    }


def measure(run_dir: Path, pictures: Path, work: Path, seed: int) -> list[dict[str, Any]]:
    """Rows of one seed: round, arm, bits, accuracy, share of yes."""
    data = pools.of_set(pictures)
    pool = pools.pool_of(data, SHARE, seed)
    truth = pools.pool_of(data, 1.0, 0).start_N
    features = pools.features_of(run_dir, pool, work)
    rows, starts = [], {}
    for arm, way in ways().items():
        rounds, began = Rounds(pool, features, way.ask, way.mine, way.learn, seed), time.process_time()
        known = KnownLabels.at_start(pool)
        # Arms that learn alike from the start set have one head of it.
        key = dataclasses.replace(way.learn, suppress=True)
        if key not in starts:
            starts[key] = rounds.learnt(known, 0)
        head = starts[key]
        for number in range(ROUNDS + 1):
            if number:
                before = known.asked, known.yes
                for query in rounds.queries(head, known, number, BITS):
                    known.take(pool, query, reply(pool, query, pool.classes[truth[query.row]]))
                head = rounds.learnt(known, number)
            found = rounds.row(head, known, number)
            asked = known.asked - before[0] if number else 0
            found |= {"yes_percent": round(100 * (known.yes - before[1]) / asked, 2) if asked else None}
            found["cpu_seconds"] = round(time.process_time() - began, 1)
            rows.append(_row(arm, number, seed, found))
    everything = KnownLabels.at_start(dataclasses.replace(pool, start_N=truth))
    rounds = Rounds(
        pool, features, None, None, dataclasses.replace(ways()[FULL].learn, consistency=0.0), seed
    )
    rows.append(_row(ALL, 0, seed, rounds.row(rounds.learnt(everything, 0), everything, 0)))
    return rows + noisy(pool, features, truth, seed)


def noisy(pool: Any, features: Any, truth: np.ndarray, seed: int) -> list[dict[str, Any]]:
    """Rows of learning from the pool's labels of which a share is wrong."""
    plain = MeanTeacher(consistency=0.0)
    learners = {
        "cross-entropy": plain,
        "self-paced, one threshold": dataclasses.replace(plain, weigh=SelfPaced(withdraw=0.5)),
        "self-paced, two thresholds": dataclasses.replace(plain, weigh=SelfPaced()),
        "generalised cross-entropy": dataclasses.replace(plain, loss=GeneralisedCrossEntropy()),
    }
    rng = np.random.default_rng([seed, 3])
    wrong = rng.random(len(truth)) < NOISE
    labels = np.where(wrong, rng.integers(len(pool.classes), size=len(truth)), truth)
    known = KnownLabels.at_start(dataclasses.replace(pool, start_N=labels))
    rows = []
    for name, learn in learners.items():
        rounds = Rounds(pool, features, OneBit(), RandomPictures(), learn, seed)
        rows.append(_row(name, NOISY, seed, rounds.row(rounds.learnt(known, 0), known, 0)))
    return rows


def _row(arm: str, task: int | str, seed: int, found: dict[str, Any]) -> dict[str, Any]:
    named = {
        "task": f"round {task}" if isinstance(task, int) else task,
        "method": arm,
        "split": "pool",
        "seed": seed,
    }
    row = named | {name: value for name, value in found.items() if name not in ("measured", "members")}
    print(json.dumps(row), flush=True)
    return row


def table(rows: list[dict[str, Any]]) -> str:
    """In Markdown: accuracy by arm and round, the bars, and bits to 90% of the accuracy of all labels."""
    if not rows:
        return "nothing is measured yet: give --run_dir and --pictures"
    tasks = [f"round {number}" for number in range(ROUNDS + 1)]
    lines = [tables.by_method([row for row in rows if row["task"] in tasks], tasks), ""]
    lines += [tables.by_method([row for row in rows if row["task"] == NOISY], [NOISY]), ""]
    last = f"round {ROUNDS}"
    lines += [tables.difference(rows, last, *bar) for bar in BARS]
    wanted = 0.9 * tables.mean(rows, "round 0", ALL, "accuracy")
    total = tables.mean(rows, "round 0", ALL, "bits")
    for arm in (SUPPRESSED, FULL, MINED):
        reached = [
            tables.mean(rows, f"round {number}", arm, "bits")
            for number in range(ROUNDS + 1)
            if tables.mean(rows, f"round {number}", arm, "accuracy") >= wanted
        ]
        said = f"{100 * reached[0] / total:.1f}% of the bits of all labels" if reached else "not reached"
        lines.append(f"90% of the accuracy of all labels ({wanted:.1f}) by {arm}: {said} (bar 10%)")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
