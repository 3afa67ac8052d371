"""From a run directory to a state that mfai's PanguWeather loads: `importing` backwards."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from pangu_jax.apps.science.conversion import mfai
from pangu_jax.apps.science.conversion.importing import KEY
from pangu_jax.errors import UserError
from pangu_jax.runs import opening
from pangu_jax.runs.exchange import folders, parts
from pangu_jax.runs.exchange.tensors import DTYPES, NAMES, Shards, write_json
from pangu_jax.runs.inference_layout import ANY, Devices
from pangu_jax.workloads.science import ForecastModel

SETTINGS = "settings.json"
ONE_FILE = 1 << 62  # bytes: who loads a state dict looks for no index


def export_weather(
    run_dir: str | Path, out: str | Path, step: int | None = None, devices: Devices = ANY
) -> dict[str, Any]:
    """Write a checkpoint for mfai: model.safetensors, and settings.json for `PanguWeatherSettings`.

    Tensors have the dtype they were imported with, in a checkpoint that was trained since fp32. Memory holds
    the model twice.

    Args:
      run_dir: a run directory.
      out: a new folder; there whole or not at all.
      step: the checkpoint; the newest sound one when None.
      devices: where arrays are read to.
    Returns:
      {"out", "step", "files", "tensors", "bytes", "dtypes", "notes"}.
    Raises:
      UserError, DataError, BackendError: the checkpoint is damaged or a model that mfai has no way to say, or
        `out` is taken.
    """
    out = Path(out).absolute()
    folders.require_empty(out, "--out")
    run = opening.open_run(run_dir, step, devices, family="science", float32=True)
    workload, where = run.workload, str(run.directory.path)
    if not isinstance(workload, ForecastModel):
        raise UserError(f"{where} forecasts no states of the atmosphere: it cannot be exported for mfai")
    if workload.targets != "state":
        raise UserError(
            f"{where}: its network gives increments in units of their own deviation, and mfai's the next "
            "state: it cannot be exported"
        )
    config = workload.model
    described = mfai.settings(config, where)
    kept = run.manifest.get(KEY, {})
    kept = kept if kept.get("format") == "mfai" else {}
    prefix, narrow = kept.get("prefix", ""), kept.get("dtypes", {})
    arrays = parts.by_path(workload.evaluated(run.variables).params)
    with folders.made(out, "--out") as unfinished:
        shards, dtypes = Shards(unfinished, ONE_FILE), Counter()
        for each in mfai.table(config):
            name = f"{prefix}{each.name}"
            tensor = parts.written(each, lambda path: np.asarray(arrays[path]))
            tensor = tensor.astype(DTYPES[narrow.get(name, "F32")])
            dtypes[NAMES[tensor.dtype]] += 1
            shards.add(name, tensor)
            if name.endswith(mfai.BIAS):
                index = mfai.position_index(config.window)
                shards.add(name.replace(mfai.BIAS.split(".")[1], mfai.UNREAD), index)
        files = shards.finish()
        write_json(unfinished / SETTINGS, described)
    _, latitude, longitude = config.sides
    names = workload.data.names
    return {
        "out": str(out),
        "step": run.manifest["step"],
        "files": files,
        "tensors": shards.count,
        "bytes": shards.total_bytes,
        "dtypes": sorted(dtypes),
        "notes": [
            f"input_shape = ({latitude}, {longitude}); channels: {', '.join(names.upper)}; "
            f"{', '.join(names.surface)}; {', '.join(names.constants) or 'no constants'}; it reads "
            f"normalised states, by the means and deviations in {where}/fields.json"
        ],
    }
