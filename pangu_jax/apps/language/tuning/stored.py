"""Tuned models in a run directory: complete parameters, or only what learnt and where the rest is.

A checkpoint's manifest has "tuning": the method by name and settings, and the base. No code is stored.
"""

import dataclasses
import functools
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import SingleDeviceSharding

from pangu_jax.apps.language.loaded import LoadedModel
from pangu_jax.apps.language.tuning import axes as axes_
from pangu_jax.apps.language.tuning.examples import prompt_ids
from pangu_jax.apps.language.tuning.lora import LoRA
from pangu_jax.apps.language.tuning.methods import FineTuning, Head, Method
from pangu_jax.apps.language.tuning.prompts import PrefixTuning, PromptTuning
from pangu_jax.errors import UserError
from pangu_jax.models.parameters import Tree
from pangu_jax.models.placement import LogicalAxes
from pangu_jax.runs import base as bases
from pangu_jax.runs import checkpoint_files, opening
from pangu_jax.runs.inference_layout import Devices, Spread
from pangu_jax.runs.opening import Found
from pangu_jax.runs.run_directory import RunDirectory
from pangu_jax.workloads.language import LanguageModel
from pangu_jax.workloads.language.model import architecture
from pangu_jax.workloads.language.model.architecture import Architecture
from pangu_jax.workloads.language.stored_vocabulary import StoredVocabulary

METHODS: dict[str, Any] = {
    method.__name__: method for method in (FineTuning, Head, PromptTuning, PrefixTuning, LoRA)
}


class StoredCheckpoint(Protocol):
    """What is tuned: a checkpoint of a run."""

    directory: Path
    step: int
    config: Architecture
    shapes: Tree


def about(directory: Path, base: StoredCheckpoint, method: Method) -> dict[str, Any]:
    """What a manifest's "tuning" says of a model that is being tuned in a run directory, JSON.

    Its checkpoints have what learns as `params`; the base is named (`pangu_jax.runs.base`), without which
    that is no model, unless all weights learn.

    Raises:
      UserError: the base's checkpoint is not there.
    """
    prepare = functools.partial(method.prepare, base.config, classes=1)
    trainable, _ = jax.eval_shape(lambda params: prepare(params, jax.random.key(0)), base.shapes)
    how: Any = method  # a dataclass, which no protocol can say
    return {
        "method": {"name": type(method).__name__, **dataclasses.asdict(how)},
        "model": dataclasses.asdict(base.config),
        "complete": "embedding" in trainable,
        "merged": False,
        "base": bases.name(directory, base.directory, base.step),
    }


def base_of(run_dir: str | Path) -> tuple[Path, int] | None:
    """The base that a tuned run names, and its checkpoint; None where it is no run yet.

    Raises:
      UserError: the base was moved, deleted or trained on since.
    """
    directory = RunDirectory(run_dir)
    for step in reversed(checkpoint_files.committed_steps(directory.checkpoints)):
        if checkpoint_files.fault(directory.checkpoints / str(step)) is None:
            manifest = checkpoint_files.read_manifest(directory.checkpoints / str(step))
            named = manifest.get("tuning", {}).get("base")
            return (bases.find(directory.path, named), named["step"]) if isinstance(named, Mapping) else None
    return None


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
        how, config = method(tuning), architecture.of_fields(tuning["model"])
    except (KeyError, TypeError, ValueError) as error:
        where = directory.checkpoints / str(found.step)
        raise UserError(f"{where} does not say how it was tuned ({error}); tune it again") from None
    wanted = {"vocabulary": vocabulary.fingerprint}
    # Version 0.1 has what learnt under a name of its own, and complete parameters merged.
    old = any(name.startswith("trainable/") for name in found.manifest["arrays"])
    entry = "trainable" if old else "params"
    if tuning["complete"]:
        dimensions = LanguageModel(config, StoredVocabulary(directory.path)).dimensions()
        spread = opening.spread(found, None, dimensions)
        run, dtype = spread.run, jnp.dtype(jnp.float32) if float32 else spread.run.dtype
        restored, manifest = found.restore({"params": _complete(found, config, spread, dtype)}, wanted)
        tree = restored["params"]
        if not tuning.get("merged", True):
            tree = how.merge(config, tree, {})
    else:
        base = _base(found, load_base)
        run, dtype = base.run, jnp.dtype(jnp.float32) if float32 else base.run.dtype
        restored, manifest = found.restore({entry: _small(found, entry)}, wanted)
        # By way of the host, so that they are not bound to a device and go wherever the base is.
        trainable = jax.tree.map(jnp.asarray, jax.device_get(restored[entry]))
        tree = how.merge(config, trainable, base.params)
        tree = jax.tree.map(lambda leaf, axes: leaf.astype(_dtype(axes, dtype)), tree, axes_.of(config, tree))
    prompt = prompt_ids(config, len(tree["embedding"]) - config.vocab_size)
    return LoadedModel(config, tree, vocabulary, manifest, prompt, run=run)


def method(tuning: Mapping[str, Any]) -> Method:
    """The method that a manifest's "tuning" describes. KeyError or TypeError if it is none of ours."""
    settings: dict[str, Any] = dict(tuning["method"])
    made_by = METHODS[settings.pop("name")]
    return made_by(**{name: tuple(v) if isinstance(v, list) else v for name, v in settings.items()})


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


def _complete(found: Found, config: Architecture, spread: Spread, dtype: jnp.dtype) -> Tree:
    """The abstract tree of complete parameters; what the layout does not divide is on every device."""

    def leaf(shape: jax.ShapeDtypeStruct, axes: LogicalAxes) -> jax.ShapeDtypeStruct:
        sharding = spread.shardings(axes) if spread.fits(axes, shape.shape) else spread.whole()
        return jax.ShapeDtypeStruct(shape.shape, _dtype(axes, dtype), sharding=sharding)

    shapes = _abstract(found.manifest["arrays"], "params")
    return jax.tree.map(leaf, shapes, axes_.of(config, shapes))


def _small(found: Found, entry: str) -> Tree:
    """The abstract tree of what learnt, on one device."""
    one = SingleDeviceSharding(found.backend.devices[0])
    return jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=one),
        _abstract(found.manifest["arrays"], entry),
    )


def _dtype(axes: LogicalAxes, dtype: jnp.dtype) -> jnp.dtype:
    """That of products for the model's matrices, fp32 for all else."""
    return dtype if "embed" in axes else jnp.dtype(jnp.float32)


def _abstract(arrays: Mapping[str, Mapping[str, Any]], entry: str) -> Tree:
    """The tree of an entry of a checkpoint, by its manifest."""
    tree: Tree = {}
    for path, array in arrays.items():
        first, *inner = path.split("/")
        if first != entry:
            continue
        *folders, name = inner
        at = tree
        for part in folders:
            at = at.setdefault(part, {})
        at[name] = jax.ShapeDtypeStruct(tuple(array["shape"]), jnp.dtype(array["dtype"]))
    return tree
