"""units.json: in what each metric of a run is measured, by the metric's name in metrics.jsonl."""

import json
import re
from collections.abc import Mapping

from pangu_jax.runs.json_files import read_json
from pangu_jax.runs.run_directory import RunDirectory, write_atomically

VALIDATION = "validation_"  # what the names of held-out metrics begin with
NATS_PER_TOKEN = "nats per token"


def of_trainer(loss_unit: str, throughput_unit: str) -> dict[str, str]:
    """What the trainer measures of every run, by name: other metrics are a workload's or an evaluator's.

    Args:
      loss_unit: `Workload.loss_unit`.
      throughput_unit: `Workload.throughput_unit`.
    """
    return {
        "loss": loss_unit,
        "grad_norm": "",
        "learning_rate": "",
        "tokens_per_second": f"{throughput_unit} per second",
        "mfu": "",
        "step_seconds": "seconds",
        "seconds": "seconds",
        "host_memory_gib": "GiB",
        "device_memory_gib": "GiB",
    }


def record(directory: RunDirectory, units: Mapping[str, str]) -> None:
    """Add to units.json, which is written where a unit is new or another; "" is a metric without one."""
    before = read_json(directory.units, {})
    after = {name: unit for name, unit in {**before, **units}.items() if unit}
    if after != before or not directory.units.is_file():
        write_atomically(directory.units, json.dumps(after, ensure_ascii=False, indent=1) + "\n")


def read(directory: RunDirectory) -> dict[str, str]:
    """Metric -> unit; metrics that are left out have none.

    Raises:
      UserError: the file is damaged.
    """
    if not directory.units.is_file():
        return _from_recipe_of_version_0_1(directory)
    return {name: str(unit) for name, unit in read_json(directory.units, {}).items()}


def unit_of(metric: str, units: Mapping[str, str]) -> str:
    """The unit of a metric: its own, or the same metric's in training; parts of a loss have the loss's."""
    name = metric.removeprefix(VALIDATION)
    of_loss = units.get("loss", "") if name.partition("/")[0] == "loss" else ""
    return units.get(metric) or units.get(name) or of_loss


def _from_recipe_of_version_0_1(directory: RunDirectory) -> dict[str, str]:
    """Run directories of version 0.1 have no units.json; where a language model was trained, it is known."""
    recipe = directory.previous_recipe() or ""
    of_language = re.search(r"^train\.workload = @(?:.*[./])?LanguageModel\(\)", recipe, re.MULTILINE)
    return {"loss": NATS_PER_TOKEN} if of_language else {}
