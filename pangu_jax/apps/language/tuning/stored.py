"""Tuned models in a run directory: complete parameters, or only what learnt and where the rest is.

A checkpoint's manifest has "tuning": the method by name and settings, and the base. No code is stored.
"""

import dataclasses
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import SingleDeviceSharding

from pangu_jax.apps.language.loaded import LoadedModel
from pangu_jax.apps.language.tuning.fitting import Tuned, prompt_ids
from pangu_jax.apps.language.tuning.lora import LoRA
from pangu_jax.apps.language.tuning.methods import FineTuning, Head, Method
from pangu_jax.apps.language.tuning.prompts import PrefixTuning, PromptTuning
from pangu_jax.errors import UserError
from pangu_jax.models.parameters import Tree
from pangu_jax.models.placement import LogicalAxes
from pangu_jax.runs import base as bases
from pangu_jax.runs import opening
from pangu_jax.runs.checkpoints import Checkpoints
from pangu_jax.runs.inference_layout import Devices, Spread
from pangu_jax.runs.opening import Found
from pangu_jax.runs.run_directory import RunDirectory, write_atomically
from pangu_jax.workloads.language import LanguageModel
from pangu_jax.workloads.language.model import encoder_decoder
from pangu_jax.workloads.language.model.encoder_decoder import EncoderDecoderConfig
from pangu_jax.workloads.language.stored_vocabulary import StoredVocabulary

METHODS = {method.__name__: method for method in (FineTuning, Head, PromptTuning, PrefixTuning, LoRA)}


def save(
    directory: RunDirectory,
    tuned: Tuned,
    method: Method,
    base: LoadedModel,
    base_dir: str | Path | None,
    *,
    recipe: str = "",
    told: Mapping[str, Any] | None = None,
) -> None:
    """Writes checkpoint and vocabulary of a tuned model into a run directory that the caller holds.

    Where all weights learnt they are stored as `params`; else `trainable` alone, with the name of the base,
    without which the model cannot be used (`pangu_jax.runs.base`).

    Args:
      directory: the run directory.
      tuned: what `fit` gave.
      method: its method.
      base: the model it began with.
      base_dir: where that one is kept; None for a complete model that is to be remembered without one.
      recipe: text of the resolved recipe.
      told: what else the manifest's "tuning" is to hold, JSON.

    Raises:
      UserError: the disk is full or cannot be written; the base is not where it was.
    """
    complete = "embedding" in tuned.trainable
    tuning = {
        "method": {"name": type(method).__name__, **dataclasses.asdict(method)},
        "model": dataclasses.asdict(base.config),
        "complete": complete,
        "base": base_dir and bases.name(directory.path, Path(base_dir), base.manifest["step"]),
        **(told or {}),
    }
    manifest = {
        "recipe": recipe,
        "fingerprint": {"vocabulary": base.vocabulary.fingerprint},
        "tuning": tuning,
    }
    state = {"params": tuned.params} if complete else {"trainable": tuned.trainable}
    write_atomically(directory.vocabulary, base.vocabulary.file.read_bytes())
    with Checkpoints(directory.checkpoints, keep=1) as checkpoints:
        checkpoints.save(tuned.step, jax.tree.map(jnp.asarray, state), manifest, force=True)


class Load(Protocol):
    """`loading.load`, which is above: what was tuned may be tuned itself."""

    def __call__(
        self, run_dir: str | Path, step: int | None, devices: Devices, *, float32: bool
    ) -> LoadedModel: ...


def load(found: Found, load_base: Load, *, float32: bool = False) -> LoadedModel:
    """The tuned model of a run that was found, complete; `loading.load` comes here by itself.

    Args:
      found: the run.
      load_base: opens what was tuned.
      float32: see `loading.load`.

    Raises:
      UserError: the checkpoint is not of a known method; the base is missing, or another one.
    """
    directory, tuning = found.directory, found.manifest["tuning"]
    vocabulary = StoredVocabulary(directory.path).vocabulary
    try:
        how, config = method(tuning), EncoderDecoderConfig(**tuning["model"])
    except (KeyError, TypeError, ValueError) as error:
        where = directory.checkpoints / str(found.step)
        raise UserError(f"{where} does not say how it was tuned ({error}); tune it again") from None
    wanted = {"vocabulary": vocabulary.fingerprint}
    if tuning["complete"]:
        dimensions = LanguageModel(config, StoredVocabulary(directory.path)).dimensions()
        spread = opening.spread(found, None, dimensions)
        run, dtype = spread.run, jnp.dtype(jnp.float32) if float32 else spread.run.dtype
        restored, manifest = found.restore({"params": _complete(found, config, spread, dtype)}, wanted)
        tree = restored["params"]
    else:
        base = _base(found, load_base)
        run, dtype = base.run, jnp.dtype(jnp.float32) if float32 else base.run.dtype
        restored, manifest = found.restore({"trainable": _small(found)}, wanted)
        # By way of the host, so that they are not bound to a device and go wherever the base is.
        trainable = jax.tree.map(jnp.asarray, jax.device_get(restored["trainable"]))
        tree = how.merge(config, trainable, base.params)
        tree = jax.tree.map_with_path(lambda path, leaf: leaf.astype(_dtype(config, path, dtype)), tree)
    prompt = prompt_ids(config, len(tree["embedding"]) - config.vocab_size)
    return LoadedModel(config, tree, vocabulary, manifest, prompt, run=run)


def method(tuning: Mapping[str, Any]) -> Method:
    """The method that a manifest's "tuning" tells of. KeyError or TypeError if it is none of ours."""
    settings = {name: tuple(v) if isinstance(v, list) else v for name, v in tuning["method"].items()}
    return METHODS[settings.pop("name")](**settings)


def fingerprint(params: Tree) -> str:
    """sha256 of names, shapes and bytes of all parameters, hex."""
    total = hashlib.sha256()
    for path, leaf in jax.tree.leaves_with_path(params):
        array = np.ascontiguousarray(leaf)
        total.update(f"{jax.tree_util.keystr(path)} {array.shape} {array.dtype}".encode())
        total.update(array.data)
    return total.hexdigest()


def _base(found: Found, load: Load) -> LoadedModel:
    """What was tuned, in fp32."""
    directory, tuning = found.directory.path, found.manifest["tuning"]
    named = tuning["base"]
    if not isinstance(named, str):
        return load(bases.find(directory, named), named["step"], found.devices, float32=True)
    # Version 0.1 has an absolute path, and a hash of the weights.
    if not Path(named).is_dir():
        raise UserError(f"{directory} was made from {named}, which is not there; bring it back")
    base = load(named, tuning["base_step"], found.devices, float32=True)
    if fingerprint(base.params) != tuning["base_fingerprint"]:
        raise UserError(
            f"{directory} was made from other weights than {named} now has at step {tuning['base_step']}; "
            "bring those back, or tune again"
        )
    return base


def _complete(found: Found, config: EncoderDecoderConfig, spread: Spread, dtype: jnp.dtype) -> Tree:
    """The abstract tree of complete parameters; what a method added to a model is on every device."""

    def leaf(path: tuple, shape: jax.ShapeDtypeStruct) -> jax.ShapeDtypeStruct:
        axes = _axes(config, path)
        fits = axes is not None and spread.fits(axes, shape.shape)  # a soft prompt's rows may not
        sharding = spread.shardings(axes) if fits else spread.whole()
        return jax.ShapeDtypeStruct(shape.shape, _dtype(config, path, dtype), sharding=sharding)

    return jax.tree.map_with_path(leaf, _abstract(found.manifest["arrays"], "params"))


def _small(found: Found) -> Tree:
    """The abstract tree of what learnt, on one device."""
    one = SingleDeviceSharding(found.backend.devices[0])
    return jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=one),
        _abstract(found.manifest["arrays"], "trainable"),
    )


def _dtype(config: EncoderDecoderConfig, path: tuple, dtype: jnp.dtype) -> jnp.dtype:
    """That of products for the model's matrices, fp32 for all else."""
    return dtype if "embed" in (_axes(config, path) or ()) else jnp.dtype(jnp.float32)


def _axes(config: EncoderDecoderConfig, path: tuple) -> LogicalAxes | None:
    """Logical axes of a parameter of the model; None for what a method added."""
    found: Any = encoder_decoder.axes(config)
    for entry in path:
        if not isinstance(found, Mapping) or entry.key not in found:
            return None
        found = found[entry.key]
    return found


def _abstract(arrays: Mapping[str, Mapping[str, Any]], entry: str) -> Tree:
    """The tree of an entry of a checkpoint, by its manifest."""
    tree: Tree = {}
    for path, array in arrays.items():
        first, *inner, name = path.split("/")
        if first != entry:
            continue
        at = tree
        for part in inner:
            at = at.setdefault(part, {})
        at[name] = jax.ShapeDtypeStruct(tuple(array["shape"]), jnp.dtype(array["dtype"]))
    return tree
