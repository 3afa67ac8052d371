"""From a run directory of a decoder to the folder of a published Pangu model: `importing`, backwards."""

import functools
import operator
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from data_pipelines.text.vocabulary import Vocabulary, tokenizer_files
from data_pipelines.text.vocabulary.added_tokens import TOKENIZER_JSON
from data_pipelines.text.vocabulary.as_published import is_published, original
from pangu_jax.apps.language import loaded, loading
from pangu_jax.apps.language.conversion.openpangu import described as descriptions
from pangu_jax.apps.language.conversion.openpangu import tensors
from pangu_jax.apps.language.conversion.openpangu.importing import KEY, TOKENIZER
from pangu_jax.errors import UserError
from pangu_jax.runs.exchange import folders, parts
from pangu_jax.runs.exchange.tensors import DTYPES, NAMES, Shards, write_json
from pangu_jax.runs.opening import Found
from pangu_jax.workloads.language.model import architecture, routed
from pangu_jax.workloads.language.model.decoder import DecoderConfig

CORRECTION = f"extra/{routed.KEY}/bias"
TORCH = {"F32": "float32", "F16": "float16", "BF16": "bfloat16"}


def export_openpangu(found: Found, out: Path, shard_gb: float) -> dict[str, Any]:
    """Write a checkpoint of a decoder as config.json, tokenizer.model or tokenizer.json, and safetensors.

    Tensors have the dtype of the checkpoint's arrays. Memory holds one of our arrays, and a shard twice; of a
    tuned model all arrays.

    Args:
      found: the run.
      out: a new folder; there whole or not at all.
      shard_gb: largest file, 10^9 bytes, unless one tensor is larger.
    Returns:
      {"out", "step", "files", "tensors", "bytes", "dtypes", "notes"}.
    Raises:
      UserError, DataError: no published class is such a model, or `out` is taken.
    """
    where = str(found.directory.checkpoints / str(found.step))
    config, vocabulary, ours = opened(found)
    kept = found.manifest.get(KEY, {})
    files = kept.get("files", {})
    described = descriptions.to_theirs(config, files.get("config.json", {}), where)
    content = vocabulary.file.read_bytes()
    if not is_published(content):
        raise UserError(
            f"{where}: its vocabulary was made here, and no published tokenizer can say it: export a model "
            "that was imported"
        )
    with folders.made(out, "--out") as unfinished:
        shards, dtypes = Shards(unfinished, int(shard_gb * 1e9)), set()
        copied = {tensors.copies(config)[name]: name for name in kept.get("copies", ())}
        for each in parts.array_by_array(tensors.table(config, kept.get("corrected", True))):
            tensor = parts.written(each, ours)
            if each.name in kept.get("dtypes", {}):
                tensor = tensor.astype(DTYPES[kept["dtypes"][each.name]])
            dtypes.add(NAMES[tensor.dtype])
            shards.add(each.name, tensor)
            if each.name in copied:
                shards.add(copied[each.name], tensor.copy())
        if kept.get("frequencies"):
            for layer in range(config.layers):
                shards.add(tensors.LAYER.format(layer) + tensors.FREQUENCIES, _bits(kept["frequencies"]))
        names = shards.finish()
        dtype = TORCH[max(dtypes, key=lambda name: DTYPES[name].itemsize)]
        said = {name for name in ("torch_dtype", "dtype") if name in described} or {"torch_dtype"}
        write_json(unfinished / "config.json", described | dict.fromkeys(said, dtype))
        beside = {name: theirs for name, theirs in files.items() if name != "config.json"}
        tokenizer, additions = TOKENIZER, vocabulary.additions
        if additions and additions.model == TOKENIZER_JSON:
            tokenizer = TOKENIZER_JSON
            beside.setdefault(tokenizer_files.SETTINGS, tokenizer_files.settings_of(additions))
        for name, theirs in beside.items():
            write_json(unfinished / name, theirs)
        (unfinished / tokenizer).write_bytes(original(content))
    notes = [
        f"copy the published *.py beside it: {described['architectures'][0]} is no class of transformers"
    ]
    return {
        "out": str(out),
        "step": found.step,
        "files": names,
        "tensors": shards.count,
        "bytes": shards.total_bytes,
        "dtypes": sorted(dtypes),
        "notes": notes,
    }


def is_decoder(found: Found) -> bool:
    """Whether a run is of a decoder alone, by its manifest."""
    if "tuning" in found.manifest:
        return isinstance(architecture.of_fields(found.manifest["tuning"]["model"]), DecoderConfig)
    return isinstance(loaded.describe(found).config, DecoderConfig)


def opened(found: Found) -> tuple[DecoderConfig, Vocabulary, Callable[[str], np.ndarray]]:
    """The configuration, the vocabulary, and path -> array.

    What was learnt of a router's correction bias is state beside its parameters; they have it when all are
    loaded.
    """
    if "tuning" in found.manifest or CORRECTION in found.manifest["arrays"]:
        model = loading.load_found(found, float32=True)
        arrays = parts.by_path(model.params)
        assert isinstance(model.config, DecoderConfig)
        return model.config, model.vocabulary, lambda path: np.asarray(arrays[path])
    described, config, vocabulary = loaded.describe(found)
    assert isinstance(config, DecoderConfig)
    axes = architecture.axes(config)
    last: dict[str, np.ndarray] = {}

    def read(path: str) -> np.ndarray:
        if path not in last:
            stored = found.manifest["arrays"][f"params/{path}"]
            sharding = described.spread.shardings(functools.reduce(operator.getitem, path.split("/"), axes))
            wanted = jax.ShapeDtypeStruct(
                tuple(stored["shape"]), jnp.dtype(stored["dtype"]), sharding=sharding
            )
            last.clear()
            last[path] = np.asarray(found.checkpoints.read_below(found.step, f"params/{path}", wanted))
        return last[path]

    return config, vocabulary, read


def _bits(numbers: list[int]) -> np.ndarray:
    return np.array(numbers, np.uint32).view(np.float32)
