"""From a run directory to files that transformers loads: `importing` backwards."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from pangu_jax.apps.multimodal.conversion import hugging_face, vocabularies
from pangu_jax.apps.multimodal.conversion.chinese_clip import CHINESE_CLIP
from pangu_jax.apps.multimodal.conversion.importing import KEY
from pangu_jax.apps.multimodal.conversion.kind import ModelKind, Towers
from pangu_jax.apps.multimodal.conversion.siglip import SIGLIP
from pangu_jax.errors import UserError
from pangu_jax.runs import opening
from pangu_jax.runs.exchange import folders, parts
from pangu_jax.runs.exchange.json_entries import PREPROCESSOR
from pangu_jax.runs.exchange.tensors import DTYPES, NAMES, Shards, write_json
from pangu_jax.runs.inference_layout import ANY, Devices
from pangu_jax.workloads.multimodal.model.image_text import ImageTextConfig
from pangu_jax.workloads.multimodal.model.text_transformer import TextTransformerConfig
from pangu_jax.workloads.vision.model.plain import PlainConfig


def export_towers(
    run_dir: str | Path,
    out: str | Path,
    step: int | None = None,
    shard_gb: float = 2.0,
    devices: Devices = ANY,
) -> dict[str, Any]:
    """Write a checkpoint for transformers, as a ChineseCLIPModel or a SiglipModel.

    Tensors have the dtype they were imported with, in a checkpoint that was trained since fp32. Memory holds
    the model in fp32, and of theirs a shard.

    Args:
      run_dir: a run directory.
      out: a new folder; there whole or not at all.
      step: the checkpoint; the newest sound one when None.
      shard_gb: largest file, 10^9 bytes, unless one tensor is larger.
      devices: where arrays are read to.
    Returns:
      {"out", "step", "files", "tensors", "bytes", "dtypes", "notes"}.
    Raises:
      UserError, DataError, BackendError: the checkpoint is damaged or a model that neither class has a way
        to say, or `out` is taken.
    """
    if shard_gb <= 0:
        raise UserError(f"--shard_gb {shard_gb:g}: give a size above 0")
    out = Path(out).absolute()
    folders.require_empty(out, "--out")
    run = opening.open_run(run_dir, step, devices, family="multimodal", float32=True)
    where = str(run.directory.path)
    workload: Any = run.workload
    kind, towers = _theirs(workload.config, where)
    kept = run.manifest.get(KEY, {})
    described = hugging_face.to_theirs(kind, towers, kept.get("config", {}), where)
    vocabulary = vocabularies.written(workload.data.vocabulary, kind, where)
    arrays = parts.by_path(run.workload.evaluated(run.variables).params)
    ours = lambda path: np.asarray(arrays[path])  # noqa: E731
    with folders.made(out, "--out") as unfinished:
        shards, dtypes = Shards(unfinished, int(shard_gb * 1e9)), Counter()
        for each in kind.table(towers):
            tensor = parts.written(each, ours).astype(DTYPES[kept.get("dtypes", {}).get(each.name, "F32")])
            dtypes[NAMES[tensor.dtype]] += 1
            shards.add(each.name, tensor)
        files = shards.finish()
        write_json(unfinished / "config.json", described)
        write_json(unfinished / PREPROCESSOR, hugging_face.preprocessor(kind, towers.image))
        for name, content in vocabulary.items():
            (unfinished / name).write_bytes(content)
    return {
        "out": str(out),
        "step": run.manifest["step"],
        "files": files,
        "tensors": shards.count,
        "bytes": shards.total_bytes,
        "dtypes": sorted(dtypes),
        "notes": [],
    }


def _theirs(config: ImageTextConfig, where: str) -> tuple[ModelKind, Towers]:
    """Which class a model of ours is, and its shape; UserError where it is none."""
    kind = next((one for one in (CHINESE_CLIP, SIGLIP) if one.contrast == config.contrast), None)
    image, text = config.image, config.text
    if kind is None:
        raise UserError(
            f"{where}: a model that learnt captions alone cannot be exported: it has no embeddings"
        )
    if not isinstance(image, PlainConfig):
        raise UserError(
            f"{where}: {type(image).__name__} cannot be exported: VisionTransformer is what others have"
        )
    if not isinstance(text, TextTransformerConfig):
        raise UserError(f"{where}: an EncoderDecoder cannot be exported: TextTransformer is what others have")
    if config.projected != kind.projected:
        raise UserError(
            f"{where}: ImageTextModel.projected is {config.projected}, and {kind.name} has {kind.projected}: "
            "only such models can be exported for it"
        )
    return kind, Towers(image, text, config.width)
