"""Pangu NLP under the trainer: an encoder-decoder, or a decoder alone, over packed windows of a weighted
mixture of tasks."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import gin
import jax
import jax.numpy as jnp
import numpy as np

from pangu_jax.errors import UserError
from pangu_jax.models import stack
from pangu_jax.models.experts import ExpertsConfig
from pangu_jax.models.latent_attention import LatentWidths
from pangu_jax.recipes import Recipe, Reference, make
from pangu_jax.workloads import (
    NOTHING,
    Batch,
    Microbatch,
    Params,
    PipelinedWorkload,
    RunContext,
    Source,
    Sums,
    TrainStream,
    Tree,
    Updates,
    Variables,
)
from pangu_jax.workloads.exhibits import Exhibit, Table
from pangu_jax.workloads.language.load_of_experts import load_of_experts
from pangu_jax.workloads.language.model import architecture, routed
from pangu_jax.workloads.language.model.architecture import Architecture
from pangu_jax.workloads.language.model.decoder import DecoderConfig
from pangu_jax.workloads.language.model.encoder_decoder import EncoderDecoderConfig
from pangu_jax.workloads.language.model.forward import Forward, Payload
from pangu_jax.workloads.language.model.token_loss import Loss
from pangu_jax.workloads.language.protocols import Drawing, TextData, TokenData
from pangu_jax.workloads.language.shapes import shape_of
from pangu_jax.workloads.language.stored_vocabulary import FILE, StoredVocabulary
from pangu_jax.workloads.shape import Shape

CONFIGS = {
    "EncoderDecoder": EncoderDecoderConfig,
    "Decoder": DecoderConfig,
    "Experts": ExpertsConfig,
    "LatentAttention": LatentWidths,
}
for _name, _config in CONFIGS.items():
    gin.external_configurable(_config, _name, module="pangu_jax.models")

NGRAMS = ("unigram", "bigram")


@gin.configurable(module="pangu_jax.workloads.language")
class LanguageModel(PipelinedWorkload):
    """A language model: an encoder-decoder, or a decoder alone.

    Args:
      model: the shape, @EncoderDecoder() or @Decoder().
      data: where windows of tokens come from, such as @corpus().
      samples: how a report's texts are drawn, beside the likeliest ones: @Sampling(); None draws as
        `pangu_jax.apps.language.decoding.samples` has it.
    """

    name = "language"
    loss_unit = "nats per token"

    def __init__(
        self,
        model: Architecture = gin.REQUIRED,
        data: TokenData = gin.REQUIRED,
        samples: Drawing | None = None,
    ):
        if samples is not None and not isinstance(samples, Drawing):
            raise UserError(f"LanguageModel.samples = {samples!r}: nothing is drawn so; give @Sampling()")
        self.model = model
        self.data = data
        self.samples = samples

    @staticmethod
    def recipe_dimensions(recipe: Recipe, reference: Reference) -> dict[str, int]:
        """`dimensions`, from a recipe; ValueError where the shape contradicts itself."""
        model = recipe.arguments(reference).get("model")
        if not isinstance(model, Reference):
            return {}
        return make(recipe, model, reference.scope).dimensions()

    @classmethod
    def from_run(cls, recipe: Recipe, reference: Reference, directory: Path) -> "LanguageModel":
        """The workload of a finished run, its data apart: the corpus need not be there.

        Raises:
          UserError: the recipe has no such model, or its shape contradicts itself.
        """
        model = recipe.arguments(reference).get("model")
        if not isinstance(model, Reference):
            raise UserError(f"{recipe.where_missing()} has no LanguageModel.model: there is no model in it")
        return cls(make(recipe, model, reference.scope), StoredVocabulary(directory))

    def init(self, key: jax.Array) -> Variables:
        """Fresh fp32 parameters, and the state of routers."""
        return Variables(architecture.init(self.model, key), self.fresh_extra())

    def logical_axes(self) -> Variables:
        """Logical axes of every parameter; the state of routers is whole everywhere."""
        state = jax.eval_shape(self.fresh_extra)
        return Variables(architecture.axes(self.model), jax.tree.map(lambda _: (None, None), state))

    def fresh_extra(self) -> Tree:
        """The state of routers before the first step; {} of a model without experts."""
        model = self.model
        return {} if model.experts is None else {routed.KEY: routed.fresh(model.routed_layers, model.experts)}

    def dimensions(self) -> dict[str, int]:
        """What a layout must divide."""
        return self.model.dimensions() | {f"{tower}_length": n for tower, n in self._lengths().items()}

    def _lengths(self) -> dict[str, int]:
        """Tokens of a window of each tower."""
        lengths = {"encoder": self.data.encoder_length, "decoder": self.data.decoder_length}
        return {tower: lengths[tower] for tower in self.model.towers}

    def loss(self, variables: Variables, batch: Batch, keys: jax.Array | None, run: RunContext) -> Sums:
        """Cross-entropy summed over weighted target tokens; `loss/TASK` is each task's, without z-loss."""
        keys = keys if self.model.dropout else None
        loss = self._forward(run).loss(variables.params | variables.extra, batch, keys)
        return self.sums(loss, batch, variables.extra)

    def program(self, run: RunContext, extra: Tree, constants: Tree) -> "LanguageProgram":
        """The towers as a pipeline runs them."""
        del constants
        return LanguageProgram(self, self._forward(run), extra)

    def after_step(self, variables: Variables, updates: Updates) -> Tree:
        """The state of routers, from the loads of a whole step."""
        if self.model.experts is None:
            return variables.extra
        state, load_LxE = variables.extra[routed.KEY], updates.totals[routed.KEY]
        return {routed.KEY: routed.after_step(state, load_LxE, self.model.experts)}

    def evaluated(self, variables: Variables) -> Variables:
        """Routers with their correction bias among the parameters, as those of published models are."""
        state = variables.extra.get(routed.KEY, {})
        if "bias" not in state:
            return variables
        rest = {routed.KEY: state | {"bias": jnp.zeros_like(state["bias"])}}
        return variables._replace(params=routed.with_bias(variables.params, state), extra=rest)

    def sums(self, loss: Loss, batch: Mapping[str, jax.Array], extra: Tree = NOTHING) -> Sums:
        """What the trainer adds up of a loss."""
        example_loss_B = jnp.sum(loss.token_loss_BxT * loss.weights_BxT, axis=1)
        example_weight_B = jnp.sum(loss.weights_BxT, axis=1)
        metrics = {}
        for index, task in enumerate(self.data.task_names):
            mine_B = (batch["task_id"] == index).astype(jnp.float32)
            metrics[f"loss/{task}"] = jnp.sum(example_loss_B * mine_B), jnp.sum(example_weight_B * mine_B)
        weight = jnp.sum(loss.weights_BxT)
        if loss.routed is None:
            return Sums(loss.total, weight, metrics)
        metrics |= routed.metrics(loss.routed, weight, extra.get(routed.KEY, {}))
        return Sums(loss.total, weight, metrics, Updates({routed.KEY: loss.routed.load_LxE}))

    def _forward(self, run: RunContext) -> Forward:
        return Forward(self.model, run.placement, run.remat, run.dtype, run.kernel, run.streams)

    def batch_shapes(self, batch_size: int) -> dict[str, jax.ShapeDtypeStruct]:
        """seqio's packed features of each tower's windows; reads no data."""
        lengths = self._lengths()
        kinds = ("input_tokens", "segment_ids", "positions")
        names = ["decoder_target_tokens", *(f"{tower}_{kind}" for tower in lengths for kind in kinds)]
        windows = {name: (batch_size, lengths[name.partition("_")[0]]) for name in names}
        shapes = {name: jax.ShapeDtypeStruct(shape, jnp.int32) for name, shape in windows.items()}
        weights = jax.ShapeDtypeStruct((batch_size, lengths["decoder"]), jnp.float32)
        return shapes | {
            "decoder_loss_weights": weights,
            "task_id": jax.ShapeDtypeStruct((batch_size,), jnp.int32),
        }

    def train_source(self, batch_size: int, seed: int, shift: int = 0) -> TrainStream:
        """Endless batches of the mixture; UserError where the vocabulary does not fit the model."""
        if self.data.vocabulary_size > self.model.vocab_size:
            raise UserError(
                f"the vocabulary has {self.data.vocabulary_size} pieces and the model's vocab_size is "
                f"{self.model.vocab_size}: raise it to at least that, in a multiple of Layout.model"
            )
        self._require_positions()
        return self.data.train_source(batch_size, seed, shift)

    def _require_positions(self) -> None:
        """UserError where windows are longer than a table of positions, which has no more rows."""
        rows = self.model.positions
        if rows and self.data.decoder_length > rows:
            raise UserError(
                f"decoder_length {self.data.decoder_length} is more than the model's positions {rows}: "
                "shorten the windows"
            )

    def validation_sources(self, batch_size: int) -> Mapping[str, Source]:
        """A finite source per task, from held-out documents."""
        return self.data.validation_sources(batch_size)

    def fingerprint(self) -> dict[str, str]:
        """The vocabulary's hash."""
        return self.data.fingerprint()

    def order(self) -> dict[str, str]:
        """The corpus's text, windows and weights."""
        return self.data.order()

    def files(self) -> dict[str, bytes]:
        """The vocabulary, which a run needs to be used by itself; {} for data without text."""
        vocabulary = getattr(self.data, "vocabulary", None)
        return {FILE: vocabulary.file.read_bytes()} if vocabulary else {}

    def notices(self) -> Sequence[str]:
        """What the corpus left out; nothing for data without text."""
        notices = getattr(self.data, "notices", None)
        return notices() if notices else ()

    def baselines(self) -> dict[str, dict[str, float]]:
        """Task -> held-out loss of n-gram models on the same targets; {} for data without text."""
        if not isinstance(self.data, TextData):
            return {}
        objectives = zip(self.data.task_names, self.data.objectives, strict=False)
        measured = {task: self.data.baselines(objective) for task, objective in objectives}
        return {task: {name: losses[name] for name in NGRAMS} for task, losses in measured.items()}

    def exhibits(self, variables: Variables, run: RunContext) -> Sequence[Exhibit]:
        """What was made of the text, where there is some, and where experts' tokens went."""
        del run
        shown = []
        if isinstance(self.data, TextData):
            shown.append(Table("use of the text", *self.data.use_of_text()))
        if state := variables.extra.get(routed.KEY):
            shown += load_of_experts(np.asarray(state["shown"]))
        return shown

    def tokens_per_step(self, batch_size: int) -> int:
        """Positions of all windows, padding included: what the devices work on."""
        return batch_size * sum(self._lengths().values())

    def flops_per_step(self, batch_size: int) -> float:
        """Matrix products forward and backward (3x forward); attention scores of causal pairs count half.

        Each tower by its own tokens: the encoder's weights never see target tokens.
        """
        return self.shape().flops(batch_size)

    def shape(self) -> Shape:
        """The model in numbers, for the planner."""
        return shape_of(self.model, self.data.encoder_length, self.data.decoder_length)


class LanguageProgram(NamedTuple):
    """The model as a pipeline runs it (`pangu_jax.parallel.stage.Program`)."""

    workload: LanguageModel
    forward: Forward
    extra: Tree

    @property
    def towers(self) -> tuple[str, ...]:
        """Names of the towers, first to last."""
        return self.forward.config.towers

    def begin(self, tower: int, shared: Params, payload: Payload, part: Microbatch) -> Payload:
        """Embeddings of a tower, with the encoder's output for the decoder."""
        return self.forward.begin_tower(tower, shared | self.extra, payload, part.batch, part.keys)

    def run(
        self, tower: int, layers: Params, shared: Params, payload: Payload, part: Microbatch, first: jax.Array
    ) -> Payload:
        """Some layers of a tower."""
        params = shared | self.extra
        return self.forward.run_tower(tower, layers, params, payload, part.batch, part.keys, first)

    def finish(self, shared: Params, payload: Payload, part: Microbatch) -> Sums:
        """The loss of a microbatch."""
        loss = self.forward.finish(shared, payload, part.batch, part.keys)
        return self.workload.sums(loss, part.batch, self.extra)

    def rematerialise(self, function):
        """As the remat policy says, for a whole chunk of layers."""
        return stack.rematerialise(function, self.forward.remat)
