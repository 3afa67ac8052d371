"""Increments: 100 classes that arrive in five groups of 20, with 20 pictures per class kept.

Tiny-ImageNet at 32 pixels, 200 pictures per class to learn from and 50 held out, on the frozen features of a
trunk that has seen no label and none of these classes by name (gin/vision/small.gin). Seeds draw the order of
classes, the weights and the order of pictures; methods are paired by them. Then an increment of hard examples
beside random ones, and several heads made one: by a graph network, and by what that must beat.

    python -m benchmarks.increments                    # what is in docs/results/vision_increments.json
    python -m benchmarks.increments --run_dir RUN --pictures DIR --work DIR --seeds 5

RUN and DIR as for `benchmarks.one_bit`. A seed that has its rows is not run again.

FLOPs of an increment are held against two ways of retraining: a new head on features of all pictures so far
(joint), and all of it: the trunk's pre-training of RUN anew, and then that head.
"""

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from benchmarks import _iteration_pool as pools
from benchmarks import _iteration_table as tables
from benchmarks import _rows
from benchmarks._rows import Row
from pangu_jax.apps.vision.iteration import fusion, heads
from pangu_jax.apps.vision.iteration.answers import KnownLabels
from pangu_jax.apps.vision.iteration.hard_examples import HardExamples
from pangu_jax.apps.vision.iteration.increments.bic import BiC
from pangu_jax.apps.vision.iteration.increments.head_fit import HeadFit
from pangu_jax.apps.vision.iteration.increments.icarl import ICaRL
from pangu_jax.apps.vision.iteration.increments.increment import IncrementStream, measured, summarised
from pangu_jax.apps.vision.iteration.increments.nearest_mean import NearestMean
from pangu_jax.apps.vision.iteration.increments.podnet import PooledDistillation
from pangu_jax.apps.vision.iteration.increments.replay import GDumb, Joint, Replay, cross_entropy
from pangu_jax.apps.vision.iteration.mean_teacher import MeanTeacher

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "docs" / "results" / "vision_increments.json"
GROUPS, PER_CLASS = 5, 20
METHODS = (Joint(), Replay(), GDumb(), ICaRL(), BiC(), PooledDistillation(), NearestMean(), NearestMean(0.1))
CONTROLS = ("joint", "replay alone", "memory alone (GDumb)")
AVERAGE, LAST, HARD, FUSED = "average accuracy", "last accuracy", "hard examples", "fusion"
EXPERTS, OF_EXPERT, PROBE = 5, 4000, 1000  # heads, pictures that each learns from, pictures of the probe set


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
                about = {"trunk": given.run_dir.name, "groups": GROUPS, "per_class": PER_CLASS}
                _rows.write(given.out, rows, about)
    print(table(_rows.read(given.out)))


def measure(run_dir: Path, pictures: Path, work: Path, seed: int) -> list[Row]:
    """Rows of one seed."""
    data = pools.of_set(pictures)
    pool = pools.pool_of(data, 1.0, 0)
    features = pools.features_of(run_dir, pool, work)
    look, pretraining = pools.model_flops(run_dir), pools.pretraining_flops(run_dir)
    stream = IncrementStream(pool, features.views_NxVxF, features.held_MxF, GROUPS, PER_CLASS, seed)
    found: list[Row] = []
    for method in METHODS:
        began = time.process_time()
        found += [row for row, _ in measured(method, stream, look)]
        print(f"seed {seed}: {method.name}, {time.process_time() - began:.1f} CPU s", flush=True)
    rows = summarised(found)
    joint = {row["increment"]: row["flops"] for row in rows if row["method"] == "joint"}
    for row in rows:
        row |= {"task": f"increment {row['increment']}", "split": "order", "seed": seed}
        row["percent_of_retraining"] = round(100 * row["flops"] / (pretraining + joint[row["increment"]]), 3)
    for row in [row for row in rows if row["increment"] == GROUPS - 1]:
        named = {"method": row["method"], "split": "order", "seed": seed}
        rows.append({"task": AVERAGE, "accuracy": row["average"], **named})
        rows.append({"task": LAST, "accuracy": row["accuracy"], "forgetting": row["forgetting"], **named})
    rows += hard(pool, features, seed) + fused(pool, features, seed)
    for row in rows:
        print(json.dumps(row), flush=True)
    return rows


def hard(pool: Any, features: pools.PoolFeatures, seed: int) -> list[Row]:
    """A head of a quarter of the pool; then another quarter arrives."""
    order = np.random.default_rng([seed, 9]).permutation(len(pool))
    old, new = order[: len(order) // 4], order[len(order) // 4 : len(order) // 2]
    views_NxVxF, label_N, fit = features.views_NxVxF, pool.start_N, HeadFit()
    shape = heads.HeadShape(views_NxVxF.shape[2], fit.hidden, len(pool.classes))
    seen = np.ones(len(pool.classes), bool)
    begun = heads.init(shape, jax.random.key(seed))
    head = fit(cross_entropy, begun, views_NxVxF, label_N, old, seen, seed)
    made = {
        "before": head,
        "joint": fit(cross_entropy, begun, views_NxVxF, label_N, order[: len(order) // 2], seen, seed),
    }
    for mined in ("errors", "random"):
        made[mined] = HardExamples(mined=mined)(head, views_NxVxF, label_N, new, old, seed)
    return [
        _row(HARD, name, seed, heads.answers(params, features.held_MxF), pool)
        for name, params in made.items()
    ]


def fused(pool: Any, features: pools.PoolFeatures, seed: int) -> list[Row]:
    """Heads that began alike and learnt from different pictures, each knowing some classes better, as one."""
    rng = np.random.default_rng([seed, 11])
    order = rng.permutation(len(pool))
    probe, rest = order[:PROBE], order[PROBE:]
    label_N, views_NxVxF = pool.start_N, features.views_NxVxF
    learn = MeanTeacher(consistency=0.0, steps=400)
    experts = []
    for group in np.array_split(rng.permutation(len(pool.classes)), EXPERTS):
        # Half of an expert's pictures are of its own fifth of the classes.
        own = rest[np.isin(label_N[rest], group)][: OF_EXPERT // 2]
        others = rest[~np.isin(label_N[rest], group)]
        rows = np.concatenate([own, rng.permutation(others)[: OF_EXPERT - len(own)]])
        labels = np.full(len(pool), -1)
        labels[rows] = label_N[rows]
        known = KnownLabels(labels, np.zeros((len(pool), len(pool.classes)), bool), 0.0)
        experts.append(learn(views_NxVxF, known, seed).params)
    held_MxF, probe_PxF, label_P = features.held_MxF, features.plain_NxF[probe], label_N[probe]
    asked, probed = (np.stack([heads.answers(one, x) for one in experts]) for x in (held_MxF, probe_PxF))
    ways: dict[str, Callable[[], np.ndarray]] = {
        "graph network, 2 layers": lambda: fusion.GraphFusion()(probed, label_P, asked),
        "graph network, 1 layer": lambda: fusion.GraphFusion(layers=1)(probed, label_P, asked),
        "mean of logits": lambda: fusion.mean_of_logits(asked),
        "mean of weights": lambda: heads.answers(fusion.mean_of_weights(experts), held_MxF),
        "greedy soup": lambda: heads.answers(fusion.greedy_soup(experts, probe_PxF, label_P), held_MxF),
        "stacking": lambda: fusion.Stacking()(probed, label_P, asked),
        "best expert": lambda: asked[int((probed.argmax(2) == label_P).mean(1).argmax())],
    }
    return [_row(FUSED, name, seed, way(), pool) for name, way in ways.items()]


def _row(task: str, method: str, seed: int, scores_MxC: np.ndarray, pool: Any) -> Row:
    right = 100 * float((scores_MxC.argmax(1) == pool.held_label_M).mean())
    return {"task": task, "method": method, "split": "order", "seed": seed, "accuracy": round(right, 3)}


def table(rows: list[Row]) -> str:
    """In Markdown: increments, hard examples, fusion, and the bars."""
    if not rows:
        return "nothing is measured yet: give --run_dir and --pictures"
    names = [method.name for method in METHODS]
    last = f"increment {GROUPS - 1}"
    columns = (
        (AVERAGE, "accuracy"),
        (LAST, "accuracy"),
        (LAST, "forgetting"),
        (last, "memory_bytes"),
        (last, "percent_of_joint"),
        (last, "percent_of_retraining"),
    )
    lines = ["| method | average | last | forgetting | bytes kept | % of joint's FLOPs | % of retraining |"]
    lines.append("| --- " * 7 + "|")
    for name in names:
        cells = [tables.cell(list(tables.values(rows, task, name, what).values())) for task, what in columns]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    lines.append("")
    lines += [
        tables.difference(rows, AVERAGE, name, "replay alone", 1.0) for name in names if name not in CONTROLS
    ]
    for task in (HARD, FUSED):
        lines += ["", tables.by_method([row for row in rows if row["task"] == task], [task])]
    lines += ["", tables.difference(rows, HARD, "errors", "random", None)]
    lines += [
        tables.difference(rows, FUSED, f"graph network, {layers}", "mean of logits", None)
        for layers in ("2 layers", "1 layer")
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
