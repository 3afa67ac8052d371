"""From a run directory to a folder that transformers loads: the way of `importing`, backwards."""

from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from data_pipelines.text.vocabulary import Vocabulary
from pangu_jax.apps.language import loaded, loading
from pangu_jax.apps.language.conversion import config as configs
from pangu_jax.apps.language.conversion import names, vocabularies
from pangu_jax.apps.language.conversion.importing import KEY
from pangu_jax.apps.language.conversion.openpangu import exporting as openpangu
from pangu_jax.errors import UserError
from pangu_jax.runs import opening
from pangu_jax.runs.exchange import folders
from pangu_jax.runs.exchange.tensors import DTYPES, NAMES, Shards, write_json
from pangu_jax.runs.inference_layout import ANY, Devices, Spread
from pangu_jax.runs.opening import Found
from pangu_jax.workloads.language.model import architecture
from pangu_jax.workloads.language.model.encoder_decoder import EncoderDecoderConfig

TORCH = {"F32": "float32", "F16": "float16", "BF16": "bfloat16"}


class Saved(NamedTuple):
    """A model that was found fit to be exported.

    Attributes:
      config: its shape.
      theirs: config.json of that.
      vocabulary: its vocabulary.
      read: path of a parameter -> its array, in the dtype it was saved in.
    """

    config: EncoderDecoderConfig
    theirs: dict[str, Any]
    vocabulary: Vocabulary
    read: Callable[[str], np.ndarray]


def export_hugging_face(
    run_dir: str | Path,
    out: str | Path,
    step: int | None = None,
    shard_gb: float = 2.0,
    devices: Devices = ANY,
) -> dict[str, Any]:
    """Write a checkpoint as config.json, the vocabulary's files and safetensors: an encoder-decoder of T5's
    formulation as one, a decoder alone as the openPangu that it was imported from.

    Tensors have the dtype they were imported with, in a checkpoint that was trained since that of its arrays.
    Memory holds one array of ours, spread over the devices, and a shard twice; of a tuned model all arrays.

    Args:
      run_dir: a run directory.
      out: a new folder; there whole or not at all.
      step: the checkpoint; the newest sound one when None.
      shard_gb: largest file, 10^9 bytes, unless one tensor is larger.
      devices: where arrays are read to.
    Returns:
      {"out", "step", "files", "tensors", "bytes", "dtypes"}.
    Raises:
      UserError, DataError, BackendError: the checkpoint is damaged or no T5, the vocabulary is another, or
        `out` is taken.
    """
    if shard_gb <= 0:
        raise UserError(f"--shard_gb {shard_gb:g}: give a size above 0")
    out = Path(out).absolute()
    folders.require_empty(out, "--out")
    with opening.find(run_dir, step, devices) as found:
        if openpangu.is_decoder(found):
            return openpangu.export_openpangu(found, out, shard_gb)
        saved = examine(found)
        imported = found.manifest.get(KEY, {}).get("dtypes", {})
        with folders.made(out, "--out") as unfinished:
            dtypes: Counter[str] = Counter()
            shards = Shards(unfinished, int(shard_gb * 1e9))
            for path, pieces in names.pieces(saved.config).items():
                array = saved.read(path)
                for piece in pieces:
                    tensor = piece.to_theirs(array)
                    if piece.name in imported:
                        tensor = tensor.astype(DTYPES[imported[piece.name]])
                    shards.add(piece.name, tensor)
                    dtypes[NAMES[tensor.dtype]] += tensor.size
            files = shards.finish()
            dtype = TORCH[dtypes.most_common(1)[0][0]]
            write_json(unfinished / "config.json", saved.theirs | {"torch_dtype": dtype})
            write_json(unfinished / "generation_config.json", _generation())
            vocabularies.write(saved.vocabulary, unfinished)
    return {
        "out": str(out),
        "step": found.step,
        "files": files,
        "tensors": shards.count,
        "bytes": shards.total_bytes,
        "dtypes": sorted(dtypes),
    }


def examine(found: Found) -> Saved:
    """Whether a checkpoint can be exported, known before an array of it is read; of a tuned one, after.

    Raises:
      UserError, DataError: it cannot.
    """
    where = found.directory.checkpoints / str(found.step)
    if "tuning" in found.manifest:
        model = loading.load_found(found, float32=True)
        config, vocabulary = model.config, model.vocabulary
        in_memory = names.by_path(model.params)
        shapes = {path: leaf.shape for path, leaf in in_memory.items()}
        read = lambda path: np.asarray(in_memory[path])  # noqa: E731
    else:
        described, config, vocabulary = loaded.describe(found)
        arrays = found.manifest["arrays"].items()
        shapes = {
            path.removeprefix("params/"): tuple(array["shape"])
            for path, array in arrays
            if path.startswith("params/")
        }
        read = partial(_on_disk, found, described.spread, architecture.axes(config))
        trained_with = found.manifest.get("fingerprint", {}).get("vocabulary", vocabulary.fingerprint)
        if trained_with != vocabulary.fingerprint:
            raise UserError(
                f"{vocabulary.file} (sha256 {vocabulary.fingerprint[:12]}) is not the vocabulary that step "
                f"{found.step} was trained with ({trained_with[:12]}); bring that one back"
            )
    assert isinstance(config, EncoderDecoderConfig)
    if vocabulary.additions and vocabulary.additions.published:
        raise UserError(
            f"{vocabulary.file} keeps its own ids for the end and padding, and a T5 has 1 and 0: only a "
            "decoder alone is exported with it"
        )
    kept = found.manifest.get(KEY, {}).get("config", {})
    theirs = configs.to_theirs(config, kept, str(found.directory.path))
    theirs.pop("dtype", None)  # what version 5 calls `torch_dtype`
    _require_a_t5(where, config, shapes)
    return Saved(config, theirs, vocabulary, read)


def _require_a_t5(where: Path, config: EncoderDecoderConfig, found: Mapping[str, tuple[int, ...]]) -> None:
    """What tuning adds to a model has no place in a T5."""
    wanted = names.shapes(config)
    wrong = [f"{path} is missing" for path in wanted if path not in found]
    wrong += [f"{path} has no place in a T5" for path in found if path not in wanted]
    wrong += [
        f"{path} is {list(found[path])} instead of {list(shape)}"
        for path, shape in wanted.items()
        if path in found and found[path] != tuple(shape)
    ]
    if wrong:
        raise UserError(f"{where}: {', '.join(wrong[:3])}; export the model it was tuned from")


def _on_disk(found: Found, spread: Spread, axes: Mapping[str, Any], path: str) -> np.ndarray:
    """One array of the checkpoint, by way of all devices: a single one may not hold it."""
    described = found.manifest["arrays"][f"params/{path}"]
    for name in path.split("/"):
        axes = axes[name]
    wanted = jax.ShapeDtypeStruct(
        tuple(described["shape"]), jnp.dtype(described["dtype"]), sharding=spread.shardings(axes)
    )
    return np.asarray(found.checkpoints.read_below(found.step, f"params/{path}", wanted))


def _generation() -> dict[str, int]:
    return {"decoder_start_token_id": 0, "eos_token_id": 1, "pad_token_id": 0}
