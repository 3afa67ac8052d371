"""From a run directory to a folder that transformers loads: the way of `importing`, backwards."""

import shutil
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp

from data_pipelines.text.vocabulary import Vocabulary
from pangu_jax.apps.language import loaded as loading
from pangu_jax.apps.language.conversion import config as configs
from pangu_jax.apps.language.conversion import folders, names
from pangu_jax.apps.language.conversion.importing import KEY, SPIECE
from pangu_jax.apps.language.conversion.tensors import DTYPES, NAMES, Shards, write_json
from pangu_jax.errors import UserError
from pangu_jax.runs import checkpoint_files
from pangu_jax.runs.orbax_setup import open_manager
from pangu_jax.runs.run_directory import RunDirectory
from pangu_jax.workloads.language.model.encoder_decoder import EncoderDecoderConfig

TORCH = {"F32": "float32", "F16": "float16", "BF16": "bfloat16"}


class Saved(NamedTuple):
    """A checkpoint that was found fit to be exported; no array has been read.

    Attributes:
      directory: its run.
      step: its number.
      manifest: of the step.
      config: its model.
      theirs: config.json of that.
      vocabulary: its vocabulary.
    """

    directory: RunDirectory
    step: int
    manifest: dict[str, Any]
    config: EncoderDecoderConfig
    theirs: dict[str, Any]
    vocabulary: Vocabulary


def export_hugging_face(
    run_dir: str | Path, out: str | Path, step: int | None = None, shard_gb: float = 2.0
) -> dict[str, Any]:
    """Write a checkpoint of T5's formulation as config.json, spiece.model and safetensors.

    Tensors have the dtype they were imported with, in a checkpoint that was trained since that of its arrays.
    Memory holds one array of ours, and a shard twice.

    Args:
      run_dir: a run directory.
      out: a new folder; there whole or not at all.
      step: the checkpoint; the newest when None.
      shard_gb: largest file, 10^9 bytes, unless one tensor is larger.
    Returns:
      {"out", "step", "files", "tensors", "bytes", "dtypes"}.
    Raises:
      UserError, DataError: the checkpoint is damaged or no T5, the vocabulary is another, or `out` is taken.
    """
    if shard_gb <= 0:
        raise UserError(f"--shard_gb {shard_gb:g}: give a size above 0")
    out = Path(out).absolute()
    folders.require_empty(out, "--out")
    saved = examine(Path(run_dir), step)
    imported = saved.manifest.get(KEY, {}).get("dtypes", {})
    with folders.made(out, "--out") as partial:
        dtypes: Counter[str] = Counter()
        shards = Shards(partial, int(shard_gb * 1e9))
        for path, pieces in names.pieces(saved.config).items():
            array = _read(saved, path)
            for piece in pieces:
                tensor = piece.to_theirs(array)
                if piece.name in imported:
                    tensor = tensor.astype(DTYPES[imported[piece.name]])
                shards.add(piece.name, tensor)
                dtypes[NAMES[tensor.dtype]] += tensor.size
        files = shards.finish()
        dtype = TORCH[dtypes.most_common(1)[0][0]]
        write_json(partial / "config.json", saved.theirs | {"torch_dtype": dtype})
        write_json(partial / "generation_config.json", _generation())
        write_json(partial / "tokenizer_config.json", _tokenizer(saved.vocabulary))
        shutil.copyfile(saved.vocabulary.file, partial / SPIECE)
    return {
        "out": str(out),
        "step": saved.step,
        "files": files,
        "tensors": shards.count,
        "bytes": shards.total_bytes,
        "dtypes": sorted(dtypes),
    }


def examine(run_dir: Path, step: int | None) -> Saved:
    """Whether a checkpoint can be exported, told without reading an array, but with every byte summed.

    Raises:
      UserError, DataError: it cannot.
    """
    directory = RunDirectory(run_dir)
    steps = checkpoint_files.committed_steps(directory.checkpoints)
    if not steps or (step is not None and step not in steps):
        there = f"it has steps {', '.join(map(str, steps))}" if steps else "name a run that has saved one"
        raise UserError(
            f"no checkpoint{'' if step is None else f' of step {step}'} in {directory.path}; {there}"
        )
    chosen = steps[-1] if step is None else step
    step_directory = directory.checkpoints / str(chosen)
    if fault := checkpoint_files.fault(step_directory):
        raise UserError(f"{step_directory} is damaged: {fault}; name a sound one with --step")
    manifest = checkpoint_files.read_manifest(step_directory)
    vocabulary = loading.read_vocabulary(directory)
    trained_with = manifest.get("fingerprint", {}).get("vocabulary", vocabulary.fingerprint)
    if trained_with != vocabulary.fingerprint:
        raise UserError(
            f"{vocabulary.file} (sha256 {vocabulary.fingerprint[:12]}) is not the vocabulary that step "
            f"{chosen} was trained with ({trained_with[:12]}); bring that one back"
        )
    config = loading.configuration(directory)
    theirs = configs.to_theirs(config, manifest.get(KEY, {}).get("config", {}), str(directory.path))
    theirs.pop("dtype", None)  # what version 5 calls `torch_dtype`
    _require_a_t5(step_directory, config, manifest["arrays"])
    return Saved(directory, chosen, manifest, config, theirs, vocabulary)


def _require_a_t5(step_directory: Path, config: EncoderDecoderConfig, arrays: Mapping[str, Any]) -> None:
    """What tuning adds to a model has no place in a T5."""
    wanted = {f"params/{path}": list(shape) for path, shape in names.shapes(config).items()}
    found = {path: array for path, array in arrays.items() if path.startswith("params/")}
    wrong = [f"{path} is missing" for path in wanted if path not in found]
    wrong += [f"{path} has no place in a T5" for path in found if path not in wanted]
    wrong += [
        f"{path} is {found[path]['shape']} instead of {shape}"
        for path, shape in wanted.items()
        if path in found and found[path]["shape"] != shape
    ]
    if wrong:
        raise UserError(f"{step_directory}: {', '.join(wrong[:3])}; export the model it was tuned from")


def _read(saved: Saved, path: str) -> np.ndarray:
    """One array of the checkpoint, in the dtype it was saved in."""
    described = saved.manifest["arrays"][f"params/{path}"]
    target: Any = jax.ShapeDtypeStruct(
        tuple(described["shape"]),
        jnp.dtype(described["dtype"]),
        sharding=jax.sharding.SingleDeviceSharding(jax.devices()[0]),
    )
    for name in reversed(["params", *path.split("/")]):
        target = {name: target}
    arguments = ocp.args.PyTreeRestore(
        item=target,
        restore_args=ocp.checkpoint_utils.construct_restore_args(target),
        partial_restore=True,
    )
    manager = open_manager(saved.directory.checkpoints, 1, None, True, lambda: None)
    with manager:
        state = manager.restore(saved.step, args=ocp.args.Composite(state=arguments)).state
    (array,) = jax.tree.leaves(state)
    return np.asarray(array)


def _generation() -> dict[str, int]:
    return {"decoder_start_token_id": 0, "eos_token_id": 1, "pad_token_id": 0}


def _tokenizer(vocabulary: Vocabulary) -> dict[str, Any]:
    """T5's tokenizer adds the sentinels that the model file lacks."""
    return {
        "tokenizer_class": "T5Tokenizer",
        "extra_ids": 0 if vocabulary.has_own_sentinels else vocabulary.special.sentinels,
        "pad_token": "<pad>",
        "eos_token": "</s>",
        "unk_token": "<unk>",
    }
