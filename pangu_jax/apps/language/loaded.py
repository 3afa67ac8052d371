"""Opening what a run left: a model's shape, its parameters and its vocabulary."""

import dataclasses
import functools
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.sharding import SingleDeviceSharding

from data_pipelines.errors import DataError
from data_pipelines.text.vocabulary import EOS, Vocabulary
from pangu_jax import recipes
from pangu_jax.apps.language.decoding.queries import Query
from pangu_jax.errors import UserError
from pangu_jax.models.parameters import Tree
from pangu_jax.recipes import Reference, functions
from pangu_jax.runs import checkpoint_files
from pangu_jax.runs.checkpoints import Checkpoints
from pangu_jax.runs.run_directory import RunDirectory
from pangu_jax.workloads.language.model import encoder_decoder
from pangu_jax.workloads.language.model.encoder_decoder import EncoderDecoderConfig
from tpu_npu_backends import compilation_cache

CONTINUES, ALONE = "[S]", "[C]"  # modes: the decoder goes on with what the encoder read, or writes by itself


@dataclasses.dataclass(frozen=True)
class Loaded:
    """A model that is ready to be used.

    Attributes:
      config: its shape and formulation.
      params: its parameters, fp32, on the first device.
      vocabulary: text to ids and back.
      manifest: what its checkpoint says of itself (step, recipe, fingerprint, ...).
      prompt: int32 [k], ids of a soft prompt's vectors, put before whatever the encoder reads.
      alone: its run taught it causal language modelling only, so that what it is to go on from is the
        beginning of its own text, and its encoder knows nothing.
    """

    config: EncoderDecoderConfig
    params: Tree
    vocabulary: Vocabulary
    manifest: dict[str, Any] = dataclasses.field(default_factory=dict)
    prompt: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros(0, np.int32))
    alone: bool = False

    def query(self, text: str, mode: str | None = None) -> Query:
        """What asks the model to go on from a text, by the mode, or as its run taught it.

        The encoder reads the text; with [C] the decoder has it before it, as its own.
        """
        if mode == ALONE or (mode is None and self.alone):
            return Query(self.encode_inputs("", ALONE), self.encode_target(text))
        return Query(self.encode_inputs(text, mode))

    def encode_inputs(self, text: str, mode: str | None = None) -> np.ndarray:
        """Encoder tokens of a text, int32 [n], as the model was trained to read them.

        Ours read a mode token and the text: [S], or [C] where there is no text and the decoder writes by
        itself; `mode` names another. A vocabulary without mode tokens is T5's, which reads the text and eos.
        """
        tokens = self.vocabulary.encode(text)
        modes = self.vocabulary.special.modes
        if not modes:
            return np.concatenate([self.prompt, tokens, [EOS]]).astype(np.int32)
        chosen = mode or (CONTINUES if text else ALONE)
        return np.concatenate([self.prompt, [modes[chosen]], tokens]).astype(np.int32)

    def encode_target(self, text: str) -> np.ndarray:
        """Decoder tokens of a text, int32 [n], without eos."""
        return self.vocabulary.encode(text)

    def decode(self, tokens: np.ndarray) -> str:
        """Text of tokens up to the first eos."""
        return self.vocabulary.decode(tokens)


def load(run_dir: str | Path, step: int | None = None) -> Loaded:
    """The model of a run directory: one that was trained here, imported, or tuned.

    Args:
      run_dir: the run.
      step: the checkpoint; the newest sound one when None.

    Raises:
      UserError, DataError: there is no such run or checkpoint, it is no language model, or its vocabulary is
        missing or another.
    """
    compilation_cache.use()
    directory = RunDirectory(run_dir)
    if not directory.path.is_dir():
        raise UserError(f"there is no run directory {directory.path}; name one with --run_dir")
    steps = checkpoint_files.committed_steps(directory.checkpoints)
    if not steps:
        raise UserError(f"no checkpoint in {directory.checkpoints}; train first, or name another run")
    if step is not None and step not in steps:
        there = ", ".join(map(str, steps))
        raise UserError(f"no checkpoint of step {step} in {directory.checkpoints}; it has steps {there}")
    chosen = steps[-1] if step is None else step
    manifest = checkpoint_files.read_manifest(directory.checkpoints / str(chosen))
    if "tuning" in manifest:
        from pangu_jax.apps.language.tuning import stored

        return stored.load(directory.path, step)
    config = configuration(directory)
    vocabulary = read_vocabulary(directory)
    if vocabulary.size > config.vocab_size:
        raise UserError(
            f"{directory.vocabulary} has {vocabulary.size} ids and the model {config.vocab_size} rows: it is "
            "another model's vocabulary; bring this run's own back"
        )
    device = SingleDeviceSharding(jax.devices()[0])
    shapes = jax.eval_shape(functools.partial(encoder_decoder.init, config), jax.random.key(0))
    target = jax.tree.map(lambda s: jax.ShapeDtypeStruct(s.shape, np.float32, sharding=device), shapes)
    fingerprint = {"vocabulary": vocabulary.fingerprint}
    with Checkpoints(directory.checkpoints, read_only=True) as checkpoints:
        params, manifest = checkpoints.restore_params(target, step, fingerprint)
    return Loaded(config, params, vocabulary, manifest, alone=_writes_alone(directory))


def configuration(directory: RunDirectory) -> EncoderDecoderConfig:
    """The model's shape, by the run's recipe.

    Raises:
      UserError: there is no recipe, it trains something else, or its shape contradicts itself.
    """
    if not directory.recipe.is_file():
        raise UserError(f"{directory.path} has no recipe.gin, which says what model it is; bring it back")
    recipe = recipes.load([directory.recipe], function=functions.TRAIN)
    try:
        model = recipe.arguments("pangu_jax.workloads.language.LanguageModel").get("model")
        if isinstance(model, Reference):
            return EncoderDecoderConfig(**recipe.arguments(model))
    except (TypeError, ValueError) as error:
        raise UserError(f"{directory.recipe}: {error}") from None
    raise UserError(f"{directory.recipe} has no LanguageModel.model: this run holds no language model")


def _writes_alone(directory: RunDirectory) -> bool:
    """Whether the run's recipe trains causal language modelling only."""
    recipe = recipes.load([directory.recipe], function=functions.TRAIN)
    try:
        objectives = recipe.arguments("data_pipelines.text.tasks.mixture.corpus").get("objectives")
    except UserError:  # a recipe without a corpus
        return False
    return bool(objectives) and all(
        isinstance(of, Reference) and of.selector.rpartition(".")[2] == "Causal" for of in objectives.values()
    )


def read_vocabulary(directory: RunDirectory) -> Vocabulary:
    """The vocabulary that a run keeps beside its checkpoints. DataError where it does not."""
    if not directory.vocabulary.is_file():
        raise DataError(
            f"{directory.vocabulary} is missing, and text cannot be read without it: run this run's "
            "`pangu train` again, which puts it there, or copy it from the token cache"
        )
    return Vocabulary(directory.vocabulary)
