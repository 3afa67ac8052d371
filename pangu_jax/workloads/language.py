"""Pangu NLP under the trainer: an encoder-decoder over packed windows of a weighted mixture of tasks."""

from collections.abc import Mapping
from typing import Protocol

import gin
import jax
import jax.numpy as jnp

from pangu_jax.errors import UserError
from pangu_jax.models import encoder_decoder
from pangu_jax.models.encoder_decoder import EncoderDecoderConfig, Forward
from pangu_jax.recipes import Recipe, Reference
from pangu_jax.workloads import Params, Run, Source, Sums

gin.external_configurable(EncoderDecoderConfig, "EncoderDecoder", module="pangu_jax.models")


class TokenData(Protocol):
    """What the workload needs of a corpus: windows of tokens with seqio's packed feature names."""

    encoder_length: int
    decoder_length: int

    @property
    def vocabulary_size(self) -> int:
        """Token ids are below it."""

    @property
    def task_names(self) -> tuple[str, ...]:
        """The mixture's tasks, in the order of `task_id`."""

    def train_source(self, batch_size: int, seed: int) -> Source:
        """Endless batches of the mixture."""

    def validation_sources(self, batch_size: int) -> Mapping[str, Source]:
        """A finite source for each task, from held-out documents."""

    def fingerprint(self) -> dict[str, str]:
        """The vocabulary's hash."""


def _dimensions(model: EncoderDecoderConfig) -> dict[str, int]:
    return {"embed": model.d_model, "heads": model.heads, "mlp": model.d_ff, "vocab": model.vocab_size}


@gin.configurable
class LanguageModel:
    """An encoder-decoder language model.

    Args:
      model: the shape, @EncoderDecoder().
      data: where windows of tokens come from, such as @corpus().
    """

    name = "language"

    def __init__(self, model: EncoderDecoderConfig = gin.REQUIRED, data: TokenData = gin.REQUIRED):
        self.model = model
        self.data = data

    @staticmethod
    def recipe_dimensions(recipe: Recipe, reference: Reference) -> dict[str, int]:
        """`dimensions`, from a recipe; ValueError where the shape contradicts itself."""
        model = recipe.arguments(reference).get("model")
        if not isinstance(model, Reference):
            return {}
        return _dimensions(EncoderDecoderConfig(**recipe.arguments(model)))

    def init(self, key: jax.Array) -> Params:
        """Fresh fp32 parameters."""
        return encoder_decoder.init(self.model, key)

    def logical_axes(self):
        """Logical axes of every parameter."""
        return encoder_decoder.axes(self.model)

    def dimensions(self) -> dict[str, int]:
        """What a layout must divide."""
        return _dimensions(self.model)

    def loss(self, params: Params, batch: Mapping[str, jax.Array], key: jax.Array | None, run: Run) -> Sums:
        """Cross-entropy summed over weighted target tokens; `loss/TASK` is each task's, without z-loss."""
        forward = Forward(self.model, run.placement, run.remat, run.dtype)
        loss = forward.loss(params, batch, key if self.model.dropout else None)
        weights_BxT = batch["decoder_loss_weights"]
        example_loss_B = jnp.sum(loss.token_loss_BxT * weights_BxT, axis=1)
        example_weight_B = jnp.sum(weights_BxT, axis=1)
        metrics = {}
        for index, task in enumerate(self.data.task_names):
            mine_B = (batch["task_id"] == index).astype(jnp.float32)
            metrics[f"loss/{task}"] = jnp.sum(example_loss_B * mine_B), jnp.sum(example_weight_B * mine_B)
        return Sums(loss.total, jnp.sum(weights_BxT), metrics)

    def train_source(self, batch_size: int, seed: int) -> Source:
        """Endless batches of the mixture; UserError where the vocabulary does not fit the model."""
        if self.data.vocabulary_size > self.model.vocab_size:
            raise UserError(
                f"the vocabulary has {self.data.vocabulary_size} pieces and EncoderDecoder.vocab_size is "
                f"{self.model.vocab_size}: raise it to at least that, in a multiple of Layout.model"
            )
        return self.data.train_source(batch_size, seed)

    def validation_sources(self, batch_size: int) -> Mapping[str, Source]:
        """A finite source a task, from held-out documents."""
        return self.data.validation_sources(batch_size)

    def fingerprint(self) -> dict[str, str]:
        """The vocabulary's hash."""
        return self.data.fingerprint()

    def baselines(self) -> dict[str, dict[str, float]]:
        """Task -> held-out nats a token of n-gram models on the same targets; {} for data without text."""
        if not hasattr(self.data, "baselines"):
            return {}
        objectives = zip(self.data.task_names, self.data.objectives, strict=False)
        return {task: self.data.baselines(objective) for task, objective in objectives}

    def tokens_per_step(self, batch_size: int) -> int:
        """Positions of both windows, padding included: what the devices work on."""
        return batch_size * (self.data.encoder_length + self.data.decoder_length)

    def flops_per_step(self, batch_size: int) -> float:
        """Matrix products forward and backward (3x forward); attention scores of causal pairs count half.

        Each tower by its own tokens: the encoder's weights never see target tokens.
        """
        m, encoder, decoder = self.model, self.data.encoder_length, self.data.decoder_length
        width = m.heads * m.width
        feed_forward = (3 if m.gated else 2) * m.d_model * m.d_ff
        attention = 4 * m.d_model * width
        encoder_layer = encoder * (attention + feed_forward + 2 * encoder * width)
        decoder_layer = (
            decoder * (attention + feed_forward + decoder * width)
            + decoder * (2 * m.d_model * width + 2 * encoder * width)
            + encoder * 2 * m.d_model * width
        )
        head = decoder * m.vocab_size * m.d_model
        forward = 2 * (m.encoder_layers * encoder_layer + m.decoder_layers * decoder_layer + head)
        return 3.0 * batch_size * forward
