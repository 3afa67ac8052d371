"""An extracted run, once more: opened as everybody opens it, its accuracy and its time measured."""

from pathlib import Path
from typing import Any

from pangu_jax.apps.vision.extraction import latency
from pangu_jax.apps.vision.extraction.budgets import HERE
from pangu_jax.apps.vision.extraction.choosing import Choice
from pangu_jax.apps.vision.extraction.measuring import Measurer
from pangu_jax.runs import opening
from pangu_jax.runs.inference_layout import Devices


def extracted_row(
    choice: Choice, run_dir: Path, measurer: Measurer, batch: int, devices: Devices
) -> dict[str, Any]:
    """What became of a choice, as JSON can hold it; seconds are measured where the budget is of this machine.

    Args:
      choice: which sub-model, and why.
      run_dir: where it was tuned.
      measurer: of the run that it is from.
      batch: pictures of a timed forward pass.
      devices: where it is opened.
    """
    run = opening.open_run(run_dir, devices=devices, family="vision", float32=True)
    workload: Any = run.workload
    params = workload.complete(workload.evaluated(run.variables))
    _, accuracy = measurer.accuracy(workload.model, params)
    row = {
        "budget": choice.budget.text,
        "cost": choice.budget.cost,
        "run_dir": str(run_dir),
        "width": choice.part.width,
        "depths": list(choice.part.depths),
        **choice.costs,
        "slice_accuracy": round(choice.accuracy, 2),
        "accuracy": round(accuracy, 2),
    }
    if choice.budget.chip == HERE:
        (seconds,) = latency.timed([measurer.call(workload.model, params, batch)])
        row["measured_seconds"] = seconds
    return row
