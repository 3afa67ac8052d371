"""A run's language model, ready to be asked: parameters on devices, and text to tokens and back."""

import dataclasses
from typing import Any, NamedTuple

import numpy as np

from data_pipelines.text.vocabulary import Vocabulary
from pangu_jax.apps.language.decoding.queries import Query
from pangu_jax.errors import UserError
from pangu_jax.models.parameters import Tree
from pangu_jax.models.placement import OneDevice
from pangu_jax.recipes import Recipe, Reference
from pangu_jax.runs import opening
from pangu_jax.runs.opening import Found
from pangu_jax.workloads import RunContext
from pangu_jax.workloads.language.model.architecture import Architecture
from pangu_jax.workloads.language.model.forward import Forward
from pangu_jax.workloads.language.stored_vocabulary import StoredVocabulary
from pangu_jax.workloads.language.workload import LanguageModel

# Modes: the decoder continues what the encoder has read, or writes a text of its own.
CONTINUES, CAUSAL = "[S]", "[C]"


@dataclasses.dataclass(frozen=True)
class LoadedModel:
    """A model that is ready to be used.

    Attributes:
      config: its shape and formulation.
      params: its parameters, on the devices of `run`.
      vocabulary: text to ids and back.
      manifest: what its checkpoint says of itself (step, recipe, fingerprint, ...).
      prompt: int32 [k], ids of a soft prompt's vectors, put before whatever the encoder reads, or behind the
        start of a decoder alone.
      causal_only: its run taught it causal language modelling only, so that the text to be continued is the
        beginning of the decoder's own, and its encoder knows nothing.
      run: where tensors of a forward pass are, the dtype of products, and what attends.
    """

    config: Architecture
    params: Tree
    vocabulary: Vocabulary
    manifest: dict[str, Any] = dataclasses.field(default_factory=dict)
    prompt: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros(0, np.int32))
    causal_only: bool = False
    run: RunContext = RunContext(OneDevice())  # noqa: RUF009 - immutable

    @property
    def decoder_alone(self) -> bool:
        """Whether it has no encoder, so that what it is asked is the beginning of its own text."""
        return "encoder" not in self.config.towers

    @property
    def forward(self) -> Forward:
        """The forward pass on these devices."""
        return Forward(self.config, self.run.placement, dtype=self.run.dtype, kernel=self.run.kernel)

    def query(self, text: str, mode: str | None = None, sentinels: bool | None = None) -> Query:
        """What asks the model to continue a text, by the mode, or as its run taught it.

        The encoder reads the text; with [C] the decoder has it before it, as its own. `sentinels`: whether
        `<extra_id_0>` and so on in it are sentinels; None is as the vocabulary's own tokenizer has it, which
        with T5's reads them; of a published one also its own marks, such as [unused9].

        Raises:
          UserError: a mode is asked of a decoder alone, which has none.
        """
        if self.decoder_alone:
            if mode is not None:
                raise UserError(f"mode {mode}: this model is a decoder alone and has no modes; leave it out")
            return self.continued(text, sentinels is not False)
        special = self.vocabulary.special
        if mode == CAUSAL or (mode is None and self.causal_only):
            return Query(self.encode_inputs("", CAUSAL), self.encode_target(text), start=special.start)
        if sentinels is None:
            sentinels = not special.modes
        return Query(self.encode_inputs(text, mode, sentinels), start=special.start)

    def continued(self, text: str, marks: bool = False) -> Query:
        """What asks a decoder alone to write on; `marks`: whether those written in the text are read."""
        encode = self.vocabulary.encode_prompt if marks else self.vocabulary.encode
        return self.after(encode(text))

    def after(self, prefix: np.ndarray) -> Query:
        """What asks a decoder alone to write on after tokens, int32 [n]."""
        read = np.concatenate([self.prompt, prefix]).astype(np.int32)
        return Query(np.zeros(0, np.int32), read, start=self.vocabulary.special.start)

    def encode_inputs(self, text: str, mode: str | None = None, sentinels: bool = False) -> np.ndarray:
        """Encoder tokens of a text, int32 [n], as the model was trained to read them.

        Ours read a mode token and the text: [S], or [C] where there is no text and the decoder writes by
        itself; `mode` names another. A vocabulary without mode tokens is T5's, which reads the text and eos.
        `sentinels`: read those that are written in the text.
        """
        tokens = self.vocabulary.encode_prompt(text) if sentinels else self.vocabulary.encode(text)
        special = self.vocabulary.special
        chosen = (mode or (CONTINUES if text else CAUSAL)) if special.modes else None
        return np.concatenate([self.prompt, special.read(chosen, tokens)]).astype(np.int32)

    def encode_target(self, text: str) -> np.ndarray:
        """Decoder tokens of a text, int32 [n], without eos."""
        return self.vocabulary.encode(text)

    def decode(self, tokens: np.ndarray) -> str:
        """Text of tokens up to the first eos."""
        return self.vocabulary.decode(tokens)


class LanguageRun(NamedTuple):
    """What a run is that was not tuned, before its parameters are read."""

    description: opening.RunDescription
    config: Architecture
    vocabulary: Vocabulary


def describe(found: Found) -> LanguageRun:
    """What a run of this family is, by its recipe and its vocabulary.

    Raises:
      UserError, DataError: it is of another family, or its vocabulary is missing or another.
    """
    described = opening.describe(found, LanguageModel.name)
    workload = described.workload
    assert isinstance(workload, LanguageModel) and isinstance(workload.data, StoredVocabulary)
    config, vocabulary = workload.model, workload.data.vocabulary
    if vocabulary.size > config.vocab_size:
        raise UserError(
            f"{vocabulary.file} has {vocabulary.size} ids and the model {config.vocab_size} rows: it is "
            "another model's vocabulary; bring this run's own back"
        )
    return LanguageRun(described, config, vocabulary)


def writes_causally(recipe: Recipe) -> bool:
    """Whether a recipe trains causal language modelling only."""
    try:
        objectives = recipe.arguments("data_pipelines.text.tasks.mixture.corpus").get("objectives")
    except UserError:  # a recipe without a corpus
        return False
    return bool(objectives) and all(
        isinstance(of, Reference) and of.selector.rpartition(".")[2] == "Causal" for of in objectives.values()
    )


def untuned(found: Found, *, float32: bool = False, writes: bool = False) -> LoadedModel:
    """The model of a run that was trained here or imported; see `loading.load`."""
    described, config, vocabulary = describe(found)
    times = 2 if writes and "encoder" not in config.towers else 1  # as stored, and as steps have them
    opened = opening.restore(found, described, float32=float32, times=times)
    return LoadedModel(
        config,
        described.workload.evaluated(opened.variables).params,
        vocabulary,
        opened.manifest,
        causal_only=writes_causally(described.recipe),
        run=described.spread.run,
    )
