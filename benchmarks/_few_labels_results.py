"""What `benchmarks.few_labels` finds: rows, differences of arms, and the tables of docs/images.md."""

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from pangu_jax.evaluation import bootstrap

DRAWS = 5
# Of the table: its head, and how labels are used, what is looked at, and how many labels there are.
COLUMNS = (
    ("probe, 1%", "probe", "means", 500),
    ("probe, 10%", "probe", "means", 5000),
    ("all weights, 1%", "fine-tuned", "means", 500),
    ("units: probe, 1%", "probe", "units", 500),
    ("units: probe, 10%", "probe", "units", 5000),
    ("units: all weights, 1%", "fine-tuned", "units", 500),
)


class Row(NamedTuple):
    """A figure, by the names that the JSON has.

    Attributes:
      arm: or control.
      how: "probe", "knn", "fine-tuned" or "denoised".
      features: by name of `FEATURES`, or "raw".
      labels: pictures that are labelled.
      draw: of them.
      seed: of the pre-training.
      accuracy: percent of the test pictures.
      psnr: of the arm, dB.
    """

    arm: str
    how: str
    features: str
    labels: int
    draw: int
    seed: int
    accuracy: float | None
    psnr: float | None


class Measured(NamedTuple):
    """Of one seed.

    Attributes:
      rows: every figure.
      right: which answers were right, bool [pictures], by `key`.
      parameters: of each arm, those of its objectives included.
    """

    rows: list[Row]
    right: dict[str, np.ndarray]
    parameters: dict[str, int]


def key(arm: str, how: str, features: str, labels: int, draw: int) -> str:
    """Of an answer to all test pictures, within a seed."""
    return "|".join((arm, how, features, str(labels), str(draw)))


def found(arms: Mapping[int, Mapping[str, Any]], measured: Sequence[Measured]) -> dict[str, Any]:
    """What the JSON holds: `arms` with what they took, mean over seeds; `differences` of the joint trunk and
    each other arm, and `rows`.

    Args:
      arms: of each seed, as `train` gives them.
      measured: of each seed.
    """
    took = {
        arm: arms[0][arm]
        | {"cpu_seconds": round(statistics.fmean(of[arm]["cpu_seconds"] for of in arms.values()))}
        | {"parameters": measured[0].parameters[arm], "seeds": len(arms)}
        for arm in arms[0]
    }
    rows = [row._asdict() for of in measured for row in of.rows]
    pairs = {
        (row["arm"], row["how"], row["features"], row["labels"]): None
        for row in rows
        if row["arm"] != "joint" and row["accuracy"] is not None
    }
    return {"arms": took, "differences": [difference(measured, *pair) for pair in pairs], "rows": rows}


def difference(
    measured: Sequence[Measured], second: str, how: str, features: str, labels: int
) -> dict[str, Any]:
    """The joint trunk minus another arm, in points, by the same draws: its mean and that of each seed, the
    standard error over all seeds and draws, and 95% by the bootstrap over test pictures.

    Raw pixels stand beside the means of the joint trunk.
    """
    own = "means" if features == "raw" else features
    gain_SxDxM = 100.0 * np.array(
        [
            [
                of.right[key("joint", how, own, labels, draw)].astype(float)
                - of.right[key(second, how, features, labels, draw)]
                for draw in range(DRAWS)
            ]
            for of in measured
        ]
    )
    gain_SxD = gain_SxDxM.mean(2)
    low, high = bootstrap.interval(gain_SxDxM.mean((0, 1)))
    return {
        "first": "joint",
        "second": second,
        "how": how,
        "features": own,
        "labels": labels,
        "mean": round(float(gain_SxD.mean()), 2),
        "seeds": [round(float(mean), 2) for mean in gain_SxD.mean(1)],
        "standard_error": round(float(gain_SxD.std(ddof=1) / gain_SxD.size**0.5), 2),
        "bootstrap": [round(low, 2), round(high, 2)],
    }


def table(found: Mapping[str, Any]) -> str:
    """In Markdown: means over seeds and draws with their standard errors, and differences. Neighbours are in
    the JSON alone."""
    heads = [head for head, *_ in COLUMNS]
    lines = [f"| arm | {' | '.join(heads)} | PSNR | CPU min |", "| --- " * (len(COLUMNS) + 3) + "|"]
    for arm in dict.fromkeys(row["arm"] for row in found["rows"]):
        own = [row for row in found["rows"] if row["arm"] == arm]
        cells = [_cell([row["accuracy"] for row in own if _column(row) == column[1:]]) for column in COLUMNS]
        psnr = {row["seed"]: row["psnr"] for row in own if row["psnr"] is not None}
        spent = found["arms"].get(arm, {}).get("cpu_seconds")
        rest = [
            f"{statistics.fmean(psnr.values()):.2f}" if psnr else "",
            f"{spent / 60:.1f}" if spent else "",
        ]
        lines.append(f"| {' | '.join([arm, *cells, *rest])} |")
    heads = [
        "joint minus",
        "how",
        "labels",
        "points",
        "each seed",
        "standard error",
        "95% over test pictures",
    ]
    lines += ["", f"| {' | '.join(heads)} |", "| --- " * len(heads) + "|"]
    for row in (one for one in found["differences"] if one["how"] != "knn"):
        low, high = row["bootstrap"]
        seeds = ", ".join(f"{mean:+.1f}" for mean in row["seeds"])
        named = row["second"], f"{row['how']}, {row['features']}", str(row["labels"])
        cells = (
            *named,
            f"{row['mean']:+.1f}",
            seeds,
            f"{row['standard_error']:.1f}",
            f"{low:+.1f} to {high:+.1f}",
        )
        lines.append(f"| {' | '.join(cells)} |")
    total = sum(arm["cpu_seconds"] for arm in found["arms"].values()) / 60
    return "\n".join([*lines, "", f"{total:.0f} CPU minutes of training for the four arms of a seed"])


def _column(row: Mapping[str, Any]) -> tuple[str, str, int]:
    # Raw pixels have no units to pool; they stand beside the means.
    return row["how"], "means" if row["features"] == "raw" else row["features"], row["labels"]


def _cell(values: list[float]) -> str:
    if not values:
        return ""
    error = statistics.stdev(values) / math.sqrt(len(values))
    return f"{statistics.fmean(values):.1f} ± {error:.1f}"
