"""Means over splits and seeds, and paired differences between methods, of the rows of a sweep.

A row is a dict with `task`, `method`, `split`, `seed` and the value of its metric under the metric's name:
`accuracy`, or what the row's `metric` says.

Differences are paired by split and seed. Seeds of one split share its examples, so they are averaged first
and the split is the unit of the test; where a task has one split, the seed is. What has no partner is counted
and named, and leaves no other trace.
"""

from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from pangu_jax.errors import UserError

Row = Mapping[str, Any]
BASELINES = ("majority", "random")
_ENOUGH = 16  # units up to which all sign flips are tried; above, 2 ** 16 of them
_KEYS = ("task", "method", "split", "seed")


class Summary(NamedTuple):
    """One method on one task."""

    task: str
    method: str
    metric: str
    mean: float
    std: float | None  # over rows, ddof 1; None of a single row
    n: int  # rows: splits times seeds


class Paired(NamedTuple):
    """`first` minus `second` on one task, over units with both."""

    task: str
    first: str
    second: str
    metric: str
    unit: str  # "split" or "seed"
    differences: dict[str, float]  # by unit
    pairs: int  # rows with a partner; more than units where a split has several seeds
    mean: float | None  # None without a pair
    std: float | None  # over units, ddof 1
    wins: int  # units where `first` is ahead
    losses: int
    p_value: float  # two-sided sign-flip permutation test of a mean of 0; exact up to 16 units
    smallest_p: float  # the least that test can give with n units, 2 / 2 ** n
    interval: tuple[float, float] | None  # 95%, by Student's t over units
    unmatched: tuple[str, ...]  # rows without a partner, "method split seed"


def metric(row: Row) -> str:
    """The name under which a row holds its value."""
    return row.get("metric", "accuracy")


def summaries(rows: Iterable[Row]) -> list[Summary]:
    """Mean and spread of each method on each task, in order of appearance.

    Raises:
      UserError: a row lacks a field or holds no number; one (task, method, split, seed) is there twice; or a
        task has two metrics.
    """
    return [
        Summary(task, method, name, float(np.mean(values)), _std(values), len(values))
        for (task, method), (name, values) in _grouped(rows).items()
    ]


def paired(rows: Iterable[Row], first: str, second: str) -> list[Paired]:
    """Differences of two methods on every task that has rows of either, in order of appearance.

    Raises:
      UserError: as `summaries`.
    """
    rows = list(rows)
    _grouped(rows)  # checks them
    by_task: dict[str, dict[str, dict[tuple, Row]]] = {}
    for row in rows:
        if row["method"] in (first, second):
            methods = by_task.setdefault(row["task"], {first: {}, second: {}})
            methods[row["method"]][row["split"], row["seed"]] = row
    return [_compare(task, first, second, methods) for task, methods in by_task.items()]


def comparisons(rows: Iterable[Row]) -> list[tuple[str, str]]:
    """Every pair of methods, the later one first; then every method against each baseline."""
    methods = list(dict.fromkeys(row["method"] for row in rows))
    compared = [method for method in methods if method not in BASELINES]
    baselines = [method for method in methods if method in BASELINES]
    pairs = [(first, second) for place, first in enumerate(compared) for second in compared[:place]]
    return pairs + [(first, second) for first in compared for second in baselines]


def _grouped(rows: Iterable[Row]) -> dict[tuple[str, str], tuple[str, list[float]]]:
    seen: set[Hashable] = set()
    metrics: dict[str, str] = {}
    grouped: dict[tuple[str, str], tuple[str, list[float]]] = {}
    for number, row in enumerate(rows, 1):
        value = row.get(name := metric(row))
        if missing := [key for key in _KEYS if key not in row]:
            raise UserError(f"results: row {number} has no {', '.join(missing)}: {dict(row)}")
        if not isinstance(value, int | float) or isinstance(value, bool) or not np.isfinite(value):
            raise UserError(f"results: row {number} has no number under {name!r}: {dict(row)}")
        key = tuple(row[key] for key in _KEYS)
        if key in seen:
            raise UserError(f"results: row {number} is there twice: {' '.join(map(str, key))}: keep one")
        seen.add(key)
        if metrics.setdefault(row["task"], name) != name:
            raise UserError(
                f"results: {row['task']} has rows of {metrics[row['task']]} and of {name}: keep one"
            )
        grouped.setdefault((row["task"], row["method"]), (name, []))[1].append(float(value))
    return grouped


def _compare(task: str, first: str, second: str, methods: dict[str, dict[tuple, Row]]) -> Paired:
    ours, theirs = methods[first], methods[second]
    name = metric(next(iter((ours or theirs).values())))
    shared = [key for key in ours if key in theirs]
    unit = "split" if len({split for split, _ in shared}) > 1 else "seed"
    by_unit: dict[str, list[float]] = defaultdict(list)
    for split, seed in shared:
        difference = ours[split, seed][name] - theirs[split, seed][name]
        by_unit[str(split if unit == "split" else seed)].append(difference)
    differences = {label: float(np.mean(values)) for label, values in by_unit.items()}
    values = list(differences.values())
    return Paired(
        task=task,
        first=first,
        second=second,
        metric=name,
        unit=unit,
        differences=differences,
        pairs=len(shared),
        mean=float(np.mean(values)) if values else None,
        std=_std(values),
        wins=sum(value > 0 for value in values),
        losses=sum(value < 0 for value in values),
        p_value=_p_value(values),
        smallest_p=min(1.0, 2 / 2 ** min(len(values), _ENOUGH)),
        interval=_interval(values),
        unmatched=tuple(
            f"{method} {split} {seed}"
            for method in (first, second)
            for split, seed in methods[method]
            if (split, seed) not in shared
        ),
    )


def _std(values: Sequence[float]) -> float | None:
    return float(np.std(values, ddof=1)) if len(values) > 1 else None


def _p_value(differences: Sequence[float]) -> float:
    if len(differences) < 2:
        return 1.0  # either sign of one difference is as far from 0
    from scipy import stats

    test = stats.permutation_test(
        (differences,), np.mean, permutation_type="samples", n_resamples=2**_ENOUGH, rng=0
    )
    return float(test.pvalue)


def _interval(differences: Sequence[float]) -> tuple[float, float] | None:
    """Student's t. Of a handful of units a bootstrap would be too narrow: it never leaves their range."""
    if len(differences) < 2:
        return None
    from scipy import stats

    half = stats.t.ppf(0.975, len(differences) - 1) * stats.sem(differences)
    return float(np.mean(differences) - half), float(np.mean(differences) + half)
