"""How many machines a corpus of some size needs, from what a build on a sample of it measured."""

import dataclasses
import json
import math
from typing import Any

from data_pipelines.corpus.directory import open_
from data_pipelines.errors import DataError

SECONDS_A_DAY = 86_400
# Beyond the measured CPU: stragglers at the end of each stage, retries, the driver.
EFFICIENCY = 0.85
# Stages whose work is that of the evaluation sets, whatever the corpus.
ONCE = ("index",)


@dataclasses.dataclass(frozen=True)
class CorpusPlan:
    """What `raw_tb` in `days` needs.

    Attributes:
      value: for JSON, every figure and assumption.
      text: for people.
    """

    value: dict[str, Any]
    text: str


def plan(
    raw_tb: float, days: float, measured: str, cores_per_machine: int = 16, memory_gb: float = 64.0
) -> CorpusPlan:
    """Scales the stages of a finished build to `raw_tb` of the same kind of text.

    CPU seconds and bytes grow with the text; per byte they are those of the build. TB are 10^12 bytes of
    UTF-8 text, uncompressed.

    Args:
      raw_tb: the raw text.
      days: in which it is to be done.
      measured: the folder of a finished build.
      cores_per_machine: and `memory_gb`: the machines there are.

    Raises:
      DataError: no finished build is there, or a number is not positive.
    """
    given = {"raw_tb": raw_tb, "days": days, "cores": cores_per_machine, "memory_gb": memory_gb}
    for name, value in given.items():
        if not value > 0:
            raise DataError(f"--{name} {value}: give a number above 0")
    directory = open_(measured)
    if not directory.report_json.is_file():
        raise DataError(f"--from {measured}: this build is not finished; run it to its end first")
    report = json.loads(directory.report_json.read_text("utf-8"))
    stages = {stage["name"]: stage for stage in report["stages"]}
    text = stages["read"]["bytes_out"]
    scale = raw_tb * 1e12 / text
    grows = {name: 1.0 if name in ONCE else scale for name in stages}
    hours = {name: stage["cpu_seconds"] * grows[name] / 3600 for name, stage in stages.items()}
    cpu_hours = sum(hours.values())
    cores = math.ceil(cpu_hours / (days * 24 * EFFICIENCY))
    machines = math.ceil(cores / cores_per_machine)
    peak = max(stage["peak_bytes"] for stage in stages.values())
    workers_fit = int(memory_gb * 1e9 * 0.9 / peak)
    disk = {name: size * scale / 1e12 for name, size in report["disk_bytes"].items()}
    moved = (report["stored_bytes"] + 2 * sum(report["disk_bytes"].values())) * scale
    value = {
        "raw_tb": raw_tb, "days": days, "cores": cores, "machines": machines,
        "cores_per_machine": cores_per_machine, "memory_gb_per_machine": memory_gb,
        "cpu_hours": round(cpu_hours, 1), "hours_by_stage": {k: round(v, 2) for k, v in hours.items()},
        "wall_hours": round(cpu_hours / EFFICIENCY / (machines * cores_per_machine), 2),
        "mb_per_cpu_second": round(raw_tb * 1e6 / (cpu_hours * 3600), 3),
        "needed_mb_per_second": round(raw_tb * 1e6 / (days * SECONDS_A_DAY), 2),
        "disk_tb": {k: round(v, 3) for k, v in disk.items()},
        "output_tb": round(disk.get("dataset", 0.0), 3),
        "storage_mb_per_second": round(moved / 1e6 / (days * SECONDS_A_DAY), 1),
        "peak_gb_per_worker": round(peak / 1e9, 2), "workers_that_fit_memory": workers_fit,
        "measured_on_mb": round(text / 1e6, 1), "efficiency": EFFICIENCY,
    }  # fmt: skip
    return CorpusPlan(value, _text(value))


def _text(v: dict[str, Any]) -> str:
    stages = "\n".join(
        f"  {name:<14} {hours:12,.1f} core hours" for name, hours in v["hours_by_stage"].items()
    )
    disk = ", ".join(f"{name} {size:,.2f} TB" for name, size in v["disk_tb"].items())
    tight = v["workers_that_fit_memory"] < v["cores_per_machine"]
    memory = (
        f"only {v['workers_that_fit_memory']} workers fit a machine: give --workers, or smaller chunks"
        if tight
        else "enough for a worker on every core"
    )
    return f"""\
{v["raw_tb"]:g} TB of raw text in {v["days"]:g} days: {v["needed_mb_per_second"]:,} MB/s are needed
  cores     {v["cores"]:,}: {v["mb_per_cpu_second"]} MB per CPU-second, {v["efficiency"]:.0%} of it counted on
  machines  {v["machines"]:,} of {v["cores_per_machine"]} cores: {v["wall_hours"]:,.1f} hours of work
  memory    {v["peak_gb_per_worker"]} GB per worker, {v["memory_gb_per_machine"]:g} GB per machine: {memory}
  disk      {disk}
  network   {v["storage_mb_per_second"]:,} MB/s to and from shared storage
{stages}
assumptions
  - the text is like the {v["measured_on_mb"]:,} MB that were measured: as long documents, as many rejected
    and copied per MB. Larger corpora hold more copies: later stages get cheaper, joins dearer
  - cores are as fast as the measured ones, and one more does as much as the first
  - every stage reads what the one before wrote from shared storage, and all stages' files are kept
  - the one task of `cluster` is alone on its machine; its memory grows with the number of copies"""
