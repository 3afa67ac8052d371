"""From answers to tables: means, differences paired by draw and by picture, calibration."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from pangu_jax import text_tables
from pangu_jax.apps.vision.measuring.few_labels import MODEL, Answered
from pangu_jax.evaluation import bootstrap, statistics
from pangu_jax.evaluation.calibration import Reliability, reliability
from pangu_jax.evaluation.statistics import Paired, Summary


class FewLabelResults(NamedTuple):
    """What answers come to.

    Attributes:
      rows: one per answer of an arm to a draw.
      summaries: means over draws.
      differences: this model minus each other arm, paired by draw.
      intervals: (task, other arm) -> 95% of that difference by the bootstrap over pictures.
      reliabilities: (task, arm) -> by confidence, all draws together.
    """

    rows: list[dict[str, Any]]
    summaries: list[Summary]
    differences: list[Paired]
    intervals: dict[tuple[str, str], tuple[float, float]]
    reliabilities: dict[tuple[str, str], Reliability]


def measured(answers: Sequence[Answered]) -> FewLabelResults:
    """Of all answers."""
    rows = [one.row for one in answers]
    others = list(dict.fromkeys(one.method for one in answers if one.method != MODEL))
    differences = [pair for other in others for pair in statistics.paired(rows, MODEL, other) if pair.pairs]
    by_arm: dict[tuple[str, str], dict[int, Answered]] = defaultdict(dict)
    for one in answers:
        by_arm[one.task, one.method][one.draw] = one
    return FewLabelResults(
        rows,
        statistics.summaries(rows),
        differences,
        {
            (pair.task, pair.second): _over_pictures(by_arm[pair.task, MODEL], by_arm[pair.task, pair.second])
            for pair in differences
        },
        {
            key: reliability(
                np.concatenate([one.confidence_M for one in of.values() if one.confidence_M is not None]),
                np.concatenate([one.right_M for one in of.values()]),
            )
            for key, of in by_arm.items()
            if all(one.confidence_M is not None for one in of.values())
        },
    )


def _over_pictures(ours: dict[int, Answered], theirs: dict[int, Answered]) -> tuple[float, float]:
    """Each picture's difference is the mean over draws, in percentage points."""
    shared = [draw for draw in ours if draw in theirs]
    ahead = [ours[draw].right_M.astype(float) - theirs[draw].right_M for draw in shared]
    return bootstrap.interval(100 * np.mean(ahead, axis=0))


def as_json(found: FewLabelResults) -> dict[str, Any]:
    """Rows, differences and calibration as JSON can hold them."""
    return {
        "rows": found.rows,
        "differences": [
            {
                "task": pair.task,
                "first": pair.first,
                "second": pair.second,
                "mean": pair.mean,
                "std": pair.std,
                "draws": len(pair.differences),
                "interval_over_draws": pair.interval,
                "interval_over_pictures": found.intervals[pair.task, pair.second],
                "p_value": pair.p_value,
            }
            for pair in found.differences
        ],
        "calibration": [
            {
                "task": task,
                "method": method,
                "error": 100 * of.error,
                "counts": of.counts_B.tolist(),
                "confidence": of.confidence_B.tolist(),
                "accuracy": of.accuracy_B.tolist(),
            }
            for (task, method), of in found.reliabilities.items()
        ],
    }


def text(found: FewLabelResults) -> str:
    """A table for people: a line per task, a column per arm; differences are on the page and in JSON."""
    methods = list(dict.fromkeys(one.method for one in found.summaries))
    cells = {(one.task, one.method): one for one in found.summaries}
    lines = []
    for task in dict.fromkeys(one.task for one in found.summaries):
        calibration = found.reliabilities.get((task, MODEL))
        own = [_cell(cells.get((task, method))) for method in methods]
        lines.append([task, *own, f"{100 * calibration.error:.1f}" if calibration else ""])
    return text_tables.render(["percent right (over draws)", *methods, "calibration error"], lines)


def _cell(summary: Summary | None) -> str:
    if summary is None:
        return ""
    return f"{summary.mean:.1f}" + (f" ± {summary.std:.1f}" if summary.std is not None else "")
