"""`extract`: the best sub-models of a run under budgets, each tuned, opened again and measured."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from pangu_jax import recipes
from pangu_jax.apps.vision.extraction import budgets, choosing, finished, page
from pangu_jax.apps.vision.extraction.choosing import Say
from pangu_jax.errors import UserError
from pangu_jax.recipes.functions import TRAIN
from pangu_jax.runs.exchange import folders
from pangu_jax.runs.inference_layout import ANY, Devices
from pangu_jax.workloads.vision.model.slicing import SubModel

RECIPE = "tuning/part.gin"
Train = Callable[[Sequence[str], Sequence[str], Path], Any]  # recipes, bindings over them, run directory


def extract(
    run_dir: str | Path,
    asked: Sequence[str],
    out: str | Path,
    train: Train,
    *,
    steps: int = 200,
    learning_rate: float = 3e-3,
    batch: int = 1,
    measured: int = 12,
    devices: Devices = ANY,
    say: Say = lambda line: None,
) -> dict[str, Any]:
    """A run of its own for each budget, beside extraction.json and extraction.svg.

    Args:
      run_dir: a run of a classifier on a HiViT; its recipe's held-out pictures must be there.
      asked: budgets, as `budgets.parse` reads them.
      out: the run; of several budgets a folder of runs. New or empty.
      train: carries a recipe out.
      steps: for which each sub-model is tuned.
      learning_rate: its peak; a tenth of the steps lead up to it.
      batch: pictures of a forward pass whose latency counts.
      measured: sub-models whose accuracy is measured; of the others it is predicted.
      devices: where runs are opened.
      say: told what is being done, a line each.
    Returns:
      What extraction.json holds; "extracted" has a row for each budget.
    Raises:
      UserError, DataError, BackendError: a number or a budget cannot be, `out` is taken, or as `choose`.
    """
    for name, value in (("steps", steps), ("batch", batch), ("measured", measured)):
        if value < 1:
            raise UserError(f"--{name} {value}: give at least 1")
    if not learning_rate > 0:
        raise UserError(f"--learning_rate {learning_rate:g}: give a number above 0")
    limits = [budgets.parse(text) for text in asked]
    if len({budget.folder for budget in limits}) < len(limits):
        raise UserError("--budget: one is there twice; leave it out")
    out = Path(out)
    folders.require_empty(out, "--out")
    found = choosing.choose(run_dir, limits, measured=measured, batch=batch, devices=devices, say=say)
    extracted = []
    for choice in found.choices:
        place = out if len(limits) == 1 else out / choice.budget.folder
        say(f"tuning {choice.part.label} for {choice.budget.text}")
        own = Path(run_dir, "recipe.gin")
        train([str(own), RECIPE], _bindings(own, choice.part, steps, learning_rate, devices.backend), place)
        extracted.append(finished.extracted_row(choice, place, found.measurer, batch, devices))
    value = {
        "run_dir": str(run_dir),
        "pictures": found.pictures,
        "batch": batch,
        "predictor_error": found.predictor_error,
        "extracted": extracted,
        "sub_models": found.rows,
    }
    (out / "extraction.json").write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")
    page.picture(out / "extraction.svg", found.rows, extracted)
    return value


def _bindings(own: Path, part: SubModel, steps: int, learning_rate: float, backend: str) -> list[str]:
    """What `RECIPE` takes from the run of the whole, and from the command line."""
    recipe = recipes.load([own], function=TRAIN)
    training = recipe.arguments(TRAIN)
    kept = recipe.arguments(training["workload"])
    return [
        f"WHOLE={str(own.parent.resolve())!r}",
        f"STEPS={steps}",
        f"PartOfRun.width={part.width}",
        f"PartOfRun.depths={part.depths}",
        f"cosine_schedule.learning_rate={learning_rate}",
        f"cosine_schedule.warmup={steps // 10}",
        f"train.batch_size={training['batch_size']}",
        *([f"train.backend={backend!r}"] if backend != "auto" else []),
        *(f"DistilledClassifier.{name}={kept[name]!r}" for name in ("data", "stages", "label_smoothing")),
    ]
