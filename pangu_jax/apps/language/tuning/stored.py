"""Tuned models in a run directory: complete parameters, or only what learnt and where the rest is.

A checkpoint's manifest has "tuning": the method by name and settings, and the base. No code is stored.
"""

import dataclasses
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from pangu_jax.apps.language import loaded as loading
from pangu_jax.apps.language.loaded import Loaded
from pangu_jax.apps.language.tuning.fitting import Tuned, prompt_ids
from pangu_jax.apps.language.tuning.lora import LoRA
from pangu_jax.apps.language.tuning.methods import FineTuning, Head, Method
from pangu_jax.apps.language.tuning.prompts import PrefixTuning, PromptTuning
from pangu_jax.errors import UserError
from pangu_jax.models.parameters import Tree
from pangu_jax.runs import checkpoint_files
from pangu_jax.runs.checkpoints import Checkpoints
from pangu_jax.runs.run_directory import RunDirectory, write_atomically
from pangu_jax.workloads.language.model.encoder_decoder import EncoderDecoderConfig

METHODS = {method.__name__: method for method in (FineTuning, Head, PromptTuning, PrefixTuning, LoRA)}


def save(
    directory: RunDirectory,
    tuned: Tuned,
    method: Method,
    base: Loaded,
    base_dir: str | Path,
    *,
    recipe: str = "",
    told: Mapping[str, Any] | None = None,
) -> None:
    """Writes checkpoint and vocabulary of a tuned model into a run directory that the caller holds.

    Where all weights learnt they are stored as `params`; else `trainable` alone, with path and fingerprint
    of the base, which must stay where it is.

    Args:
      directory: the run directory.
      tuned: what `fit` gave.
      method: its method.
      base: the model it began with.
      base_dir: where that one is kept.
      recipe: text of the resolved recipe.
      told: what else the manifest's "tuning" is to hold, JSON.

    Raises:
      UserError: the disk is full or cannot be written.
    """
    complete = "embedding" in tuned.trainable
    tuning = {
        "method": {"name": type(method).__name__, **dataclasses.asdict(method)},
        "model": dataclasses.asdict(base.config),
        "complete": complete,
        "base": str(Path(base_dir).absolute()),
        "base_step": base.manifest.get("step"),
        "base_fingerprint": fingerprint(base.params),
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


def load(run_dir: str | Path, step: int | None = None) -> Loaded:
    """The tuned model of a run directory, complete; `loaded.load` comes here by itself.

    Raises:
      UserError: the checkpoint is damaged or not of a known method; the base is missing, or another one.
    """
    directory = RunDirectory(run_dir)
    vocabulary = loading.read_vocabulary(directory)
    steps = checkpoint_files.committed_steps(directory.checkpoints)
    chosen = max(steps) if step is None else step
    manifest = checkpoint_files.read_manifest(directory.checkpoints / str(chosen))
    tuning = manifest["tuning"]
    try:
        how, config = method(tuning), EncoderDecoderConfig(**tuning["model"])
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"{directory.checkpoints / str(chosen)} does not say how it was tuned ({error}); tune it again"
        ) from None
    entry = "params" if tuning["complete"] else "trainable"
    with Checkpoints(directory.checkpoints, read_only=True) as checkpoints:
        wanted = {"vocabulary": vocabulary.fingerprint}
        tree, manifest = checkpoints.restore_params(
            _abstract(manifest["arrays"], entry), chosen, wanted, entry
        )
    if not tuning["complete"]:
        tree = how.merge(config, tree, _base(directory, tuning).params)
    prompt = prompt_ids(config, len(tree["embedding"]) - config.vocab_size)
    return Loaded(config, tree, vocabulary, manifest, prompt)


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


def _base(directory: RunDirectory, tuning: Mapping[str, Any]) -> Loaded:
    if not Path(tuning["base"]).is_dir():
        raise UserError(
            f"{directory.path} holds what was tuned on {tuning['base']}, which is not there; bring it back"
        )
    base = loading.load(tuning["base"], tuning["base_step"])
    if fingerprint(base.params) != tuning["base_fingerprint"]:
        raise UserError(
            f"{directory.path} was tuned on other weights than {tuning['base']} now has at step "
            f"{tuning['base_step']}; bring those back, or tune again"
        )
    return base


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
