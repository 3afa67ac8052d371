"""From a run directory to files that timm, transformers and big_vision load: `importing` backwards."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from pangu_jax.apps.vision.conversion import big_vision, hugging_face, timm, timm_config
from pangu_jax.apps.vision.conversion.importing import KEY, POSITIONS
from pangu_jax.errors import UserError
from pangu_jax.runs import opening
from pangu_jax.runs.exchange import folders, parts
from pangu_jax.runs.exchange.parts import ForeignTensor
from pangu_jax.runs.exchange.tensors import DTYPES, NAMES, Shards, write_json
from pangu_jax.runs.inference_layout import ANY, Devices
from pangu_jax.workloads.vision.model.plain import PlainConfig

FORMATS = ("timm", "hf", "big_vision")
NUMPY = "model.npz"
ONE_FILE = 1 << 62  # bytes: timm reads no shards


def export_vision(
    name: str,
    run_dir: str | Path,
    out: str | Path,
    step: int | None = None,
    shard_gb: float = 2.0,
    devices: Devices = ANY,
) -> dict[str, Any]:
    """Write a checkpoint of a plain vision transformer.

    Tensors have the dtype they were imported with, in a checkpoint that was trained since fp32. Memory holds
    the model in fp32, and of theirs a shard (transformers) or the model.

    Args:
      name: of the format, one of `FORMATS`.
      run_dir: a run directory.
      out: a new folder; there whole or not at all.
      step: the checkpoint; the newest sound one when None.
      shard_gb: largest file for transformers, 10^9 bytes, unless one tensor is larger.
      devices: where arrays are read to.
    Returns:
      {"out", "step", "files", "tensors", "bytes", "dtypes", "notes"}.
    Raises:
      UserError, DataError, BackendError: the checkpoint is damaged, no plain vision transformer or one that
        the format has no way to say, or `out` is taken.
    """
    if shard_gb <= 0:
        raise UserError(f"--shard_gb {shard_gb:g}: give a size above 0")
    out = Path(out).absolute()
    folders.require_empty(out, "--out")
    run = opening.open_run(run_dir, step, devices, family="vision", float32=True)
    config, where = run.workload.model, str(run.directory.path)  # pyrefly: ignore[missing-attribute]
    if not isinstance(config, PlainConfig):
        raise UserError(
            f"{where}: {type(config).__name__} cannot be exported: VisionTransformer is what other libraries "
            "have"
        )
    if not hasattr(run.workload, "objectives"):
        raise UserError(
            f"{where}: the classes that were taught to it have no place in that format: export the run that "
            "it was tuned from"
        )
    params = run.workload.evaluated(run.variables).params
    kept = run.manifest.get(KEY, {})
    kept = kept if kept.get("format") == name else {}
    arrays = parts.by_path({part: params[part] for part in ("trunk", "main")})
    ours = lambda path: np.asarray(arrays[path])  # noqa: E731
    table, config_json = _described(name, config, kept, ours, where)
    with folders.made(out, "--out") as unfinished:
        theirs = ((each.name, _as_imported(each, kept, ours)) for each in table)
        if name == "big_vision":
            written = dict(theirs)
            stored: dict[str, Any] = {key: _stored(value) for key, value in written.items()}
            np.savez(unfinished / NUMPY, **stored)
            files, sizes = [NUMPY], {key: (value.dtype, value.nbytes) for key, value in written.items()}
        else:
            shards, sizes = Shards(unfinished, int(shard_gb * 1e9) if name == "hf" else ONE_FILE), {}
            for key, value in theirs:
                shards.add(key, value)
                sizes[key] = value.dtype, value.nbytes
            files = shards.finish()
        for file, value in config_json.items():
            write_json(unfinished / file, value)
    left = [part for part in params if part not in ("trunk", "main")]
    return {
        "out": str(out),
        "step": run.manifest["step"],
        "files": files,
        "tensors": len(sizes),
        "bytes": sum(size for _, size in sizes.values()),
        "dtypes": sorted(Counter(NAMES[dtype] for dtype, _ in sizes.values())),
        "notes": [f"left out, what serves objectives: {', '.join(left)}"] if left else [],
    }


def _described(
    name: str, config: PlainConfig, kept: dict[str, Any], ours: Callable[[str], np.ndarray], where: str
) -> tuple[tuple[ForeignTensor, ...], dict[str, dict[str, Any]]]:
    """Their tensors, and the JSON files beside them."""
    theirs = kept.get("config", {})
    if name == "timm":
        return timm.table(config), {"config.json": timm_config.to_theirs(config, theirs, where)}
    if name == "hf":
        described = hugging_face.to_theirs(config, theirs, where)
        prefix = kept.get("prefix", hugging_face.PREFIX if config.classes else "")
        files = {"config.json": described, "preprocessor_config.json": hugging_face.preprocessor(config)}
        return hugging_face.table(config, prefix), files
    big_vision.require_expressible(config, where)
    naming = big_vision.Naming(**kept.get("naming", {}))
    if naming.fixed:
        formula = big_vision.sine_positions(config.grid, config.d_model)
        naming = naming._replace(fixed=np.array_equal(ours(POSITIONS), formula))
    return big_vision.table(config, naming), {}


def _as_imported(each: ForeignTensor, kept: dict[str, Any], ours: Callable[[str], np.ndarray]) -> np.ndarray:
    tensor = parts.written(each, ours)
    return tensor.astype(DTYPES[kept.get("dtypes", {}).get(each.name, "F32")])


def _stored(array: np.ndarray) -> np.ndarray:
    """bfloat16 as JAX's own files have it, two bytes without a meaning."""
    return array.view("V2") if array.dtype == ml_dtypes.bfloat16 else array
