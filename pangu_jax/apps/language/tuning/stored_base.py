"""A base that lies in a run directory."""

import dataclasses
from functools import partial
from pathlib import Path

import jax

from pangu_jax.apps.language import loaded
from pangu_jax.apps.language.loaded import LoadedModel
from pangu_jax.apps.language.loading import load_found
from pangu_jax.runs import base, opening
from pangu_jax.runs.inference_layout import Devices
from pangu_jax.workloads import Tree
from pangu_jax.workloads.language.model import architecture
from pangu_jax.workloads.language.stored_vocabulary import FILE


class StoredBase:
    """The model of a run, as `TunedLanguageModel` takes it. Its parameters are read when they are asked for.

    Attributes:
      directory: the run.
      step: its checkpoint.
      reader: the model without parameters: how it reads and writes texts.
      config: its shape.
      shapes: its complete parameters without their contents.
      fingerprint: the vocabulary's hash, and that of the checkpoint.
      files: its vocabulary.

    Args:
      run_dir: the run.
      step: the checkpoint; the best or the newest when None.
      devices: where it is tuned.

    Raises:
      UserError, DataError, BackendError: as `loading.load`.
    """

    def __init__(self, run_dir: str | Path, step: int | None, devices: Devices):
        self._devices = devices
        self._loaded: LoadedModel | None = None
        with opening.find(run_dir, step, devices) as found:
            self.directory, self.step = found.directory.path, found.step
            if "tuning" in found.manifest:  # its parameters are those of two runs: they are read at once
                self._loaded = load_found(found, float32=True)
                self.reader = dataclasses.replace(self._loaded, params={})
                self.shapes = jax.tree.map(_abstract, self._loaded.params)
            else:
                described, config, vocabulary = loaded.describe(found)
                causal = loaded.writes_causally(described.recipe)
                self.reader = LoadedModel(config, {}, vocabulary, found.manifest, causal_only=causal)
                self.shapes = jax.eval_shape(partial(architecture.init, config), jax.random.key(0))
        self.config = self.reader.config
        self.files = {FILE: self.reader.vocabulary.file.read_bytes()}
        checkpoint = base.name(self.directory, self.directory, self.step)["sha256"]
        self.fingerprint = {"vocabulary": self.reader.vocabulary.fingerprint, "base": checkpoint}

    def restore(self, shardings: Tree) -> Tree:
        """Its parameters, read from where they are stored to where they are to be."""
        if self._loaded is not None:
            return jax.device_put(self._loaded.params, shardings)
        wanted = jax.tree.map(lambda s, where: _abstract(s, where), self.shapes, shardings)
        fingerprint = {"vocabulary": self.fingerprint["vocabulary"]}
        with opening.find(self.directory, self.step, self._devices) as found:
            restored, _ = found.restore({"params": wanted}, fingerprint)
        return restored["params"]


def _abstract(leaf, sharding: jax.sharding.Sharding | None = None) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)
