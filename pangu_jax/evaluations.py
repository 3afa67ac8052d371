"""The evaluation verbs: what each calls, as JSON and as text. The work itself is `pangu_jax.evaluation`."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pangu_jax import outputs, recipes
from pangu_jax.shown import Shown

SWEEP = "pangu_jax.apps.language.benchmarks.sweep.sweep"
SWEEP_SUPPLIED = ("out", "workers", "ray_address", "tell", "recipe")

EVALUATE = "pangu_jax.apps.language.benchmarks.evaluate.evaluate"
EVALUATE_SUPPLIED = ("run_dir", "tell")


def sweep(
    gin_files: Sequence[str],
    bindings: Sequence[str],
    out: str,
    workers: int,
    ray_address: str | None,
) -> Shown:
    """`pangu_jax.apps.language.benchmarks.sweep.sweep` as the recipes say.

    Raises:
      UserError, DataError: what the caller can mend, in one line.
    """
    with recipes.using(gin_files, bindings, function=SWEEP, supplied=SWEEP_SUPPLIED) as recipe:
        from pangu_jax.apps.language.benchmarks.sweep import sweep

        written = sweep(
            out=out, workers=workers, ray_address=ray_address, tell=_tell, recipe=recipes.dump(recipe)
        )
    value = json.loads(Path(written.json).read_text("utf-8"))
    return Shown(value, Path(written.markdown).read_text("utf-8") + f"\n{written.html}")


def evaluate(
    gin_files: Sequence[str],
    bindings: Sequence[str],
    run_dir: str,
    tasks: Sequence[str],
    predictions: str | None,
    submission: str | None,
) -> Shown:
    """`pangu_jax.apps.language.benchmarks.evaluate.evaluate` as the recipes say, on `tasks` where some are named.

    Args:
      gin_files: the recipe.
      bindings: of the recipe, from the command line.
      run_dir: the model's run.
      tasks: instead of the recipe's.
      predictions: a file of JSON lines {"task", "id", "prediction"} to write.
      submission: a zip for a leaderboard to write.

    Raises:
      UserError, DataError: what the caller can mend, in one line.
    """
    for path, flag in ((predictions, "--predictions"), (submission, "--submission")):
        if path:
            outputs.require_writable(path, flag)
    own = [f"evaluate.tasks={list(tasks)!r}"] if tasks else []
    with recipes.using(gin_files, [*bindings, *own], function=EVALUATE, supplied=EVALUATE_SUPPLIED) as recipe:
        from pangu_jax.apps.language.benchmarks import submissions
        from pangu_jax.apps.language.benchmarks.evaluate import evaluate
        from pangu_jax.runs.run_directory import write_atomically

        found = evaluate(run_dir=run_dir, tell=_tell)
        if predictions:
            lines = [
                json.dumps({"task": task, "id": key, "prediction": value}, ensure_ascii=False) + "\n"
                for task, pairs in found.predictions.items()
                for key, value in pairs
            ]
            write_atomically(Path(predictions), "".join(lines))
        if submission:
            submissions.write(submission, found.predictions)
    return Shown(
        {"run_dir": str(run_dir), "recipe": recipes.dump(recipe), "rows": found.rows}, _table(found.rows)
    )


def _table(rows: Sequence[dict[str, Any]]) -> str:
    lines = []
    for row in rows:
        numbers = "  ".join(f"{name} {value}" for name, value in row.items() if name not in ("task", "split"))
        lines.append(f"{row['task']:<22} {row['split']:<12} {numbers}")
    return "\n".join(lines)


def _tell(row: dict[str, Any]) -> None:
    shown = ", ".join(
        f"{name} {value}"
        for name, value in row.items()
        if name not in ("task", "method", "examples", "windowed")
    )
    what = " ".join(row[name] for name in ("task", "method") if name in row)
    print(f"{what}: {shown}", file=sys.stderr, flush=True)
