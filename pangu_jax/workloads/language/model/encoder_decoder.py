"""The Pangu NLP model: a pre-norm encoder-decoder over packed windows of tokens.

The announced ~100B model has no public description. What is here is a chosen, well-known
formulation: T5's layout (Raffel et al., arXiv 1910.10683) with rotary positions by default.
Modules hold parameters; the forward pass (`forward.py`) is plain JAX over their arrays.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from flax import nnx

from pangu_jax.models import attention, positions
from pangu_jax.models.feed_forward import ACTIVATIONS, FeedForward
from pangu_jax.models.normalization import EPSILON, RMSNorm
from pangu_jax.models.parameters import normal


@dataclass(frozen=True)
class EncoderDecoderConfig:
    """Shape and formulation of an encoder-decoder.

    Args:
      vocab_size: rows of the embedding table; at least the vocabulary's size.
      d_model: width of the residual stream.
      d_ff: width of the feed-forward block (each of its two halves when gated).
      heads: attention heads.
      head_dim: width of one head; d_model / heads when None.
      encoder_layers: layers of the encoder.
      decoder_layers: layers of the decoder.
      activation: "relu", "gelu" or "silu".
      gated: gated feed-forward (T5 v1.1) or plain (T5).
      position: "rotary", or "relative": T5's bias, one table per tower.
      tied_head: the head is the embedding table, or else a table of its own.
      head_scale: factor on the head's input; T5 checkpoints with a tied head have d_model^-0.5.
      attention_scale: factor on the scores; head_dim^-0.5 when None. T5 checkpoints have 1.0.
      relative_buckets: buckets of the relative bias.
      relative_max_distance: distance from which all fall into the last bucket.
      dropout: rate on each block's output, 0 in pretraining.
      z_loss: weight of log(Z)^2 in the loss.
      loss_chunks: pieces of the decoder's window whose logits exist one after the other.
      unroll: layers compiled as one iteration of the loop over layers.
    """

    towers: ClassVar[tuple[str, ...]] = ("encoder", "decoder")
    epsilon: ClassVar[float] = EPSILON  # beside the mean square of norms
    rope_theta: ClassVar[float] = 10_000.0  # base of the rotary frequencies
    positions: ClassVar[int] = 0  # rows of a table of positions
    experts: ClassVar[None] = None
    dense_layers: ClassVar[int] = 0
    latent: ClassVar[None] = None
    predictions: ClassVar[int] = 0
    prediction_weight: ClassVar[float] = 0.0
    vocab_size: int = 8192
    d_model: int = 512
    d_ff: int = 2048
    heads: int = 8
    head_dim: int | None = None
    encoder_layers: int = 6
    decoder_layers: int = 6
    activation: Literal["relu", "gelu", "silu"] = "gelu"
    gated: bool = True
    position: Literal["rotary", "relative"] = "rotary"
    tied_head: bool = True
    head_scale: float = 1.0
    attention_scale: float | None = None
    relative_buckets: int = 32
    relative_max_distance: int = 128
    dropout: float = 0.0
    z_loss: float = 1e-4
    loss_chunks: int = 1
    unroll: int = 1

    def __post_init__(self):
        if self.head_dim is None and self.d_model % self.heads:
            raise ValueError(
                f"d_model {self.d_model} is not divisible by heads {self.heads}; set EncoderDecoder.head_dim"
            )
        if self.position == "rotary" and self.width % 2:
            raise ValueError(f"rotary positions need an even head_dim, got {self.width}")
        if self.activation not in ACTIVATIONS:
            raise ValueError(f"activation {self.activation!r} is unknown: one of {', '.join(ACTIVATIONS)}")
        for name in (
            "vocab_size",
            "d_model",
            "d_ff",
            "heads",
            "encoder_layers",
            "decoder_layers",
            "loss_chunks",
        ):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")

    @property
    def width(self) -> int:
        """Width of one attention head."""
        return self.head_dim or self.d_model // self.heads

    @property
    def rotary(self) -> int:
        """Width of the part of a head that is turned by its position."""
        return self.width

    @property
    def scale(self) -> float:
        """Factor on the attention scores."""
        return self.width**-0.5 if self.attention_scale is None else self.attention_scale

    @property
    def kv_heads(self) -> int:
        """Heads of keys and values: each head has its own."""
        return self.heads

    def buckets(self, length: int, *, bidirectional: bool) -> np.ndarray:
        """Buckets of T5's bias for all pairs of a window, int32 [length, length]."""
        return positions.relative_buckets(
            length,
            length,
            bidirectional=bidirectional,
            buckets=self.relative_buckets,
            max_distance=self.relative_max_distance,
        )

    def module(self, rngs: nnx.Rngs) -> "EncoderDecoder":
        """All parameters, fresh."""
        return EncoderDecoder(self, rngs)

    def dimensions(self) -> dict[str, int]:
        """Sizes by logical axis that a layout must divide."""
        return {
            "embed": self.d_model,
            "heads": self.heads,
            "mlp": self.d_ff,
            "vocab": self.vocab_size,
            "encoder_layers": self.encoder_layers,
            "decoder_layers": self.decoder_layers,
        }


class StackedLayers(nnx.Module):
    """The stacked layers of the encoder, or of the decoder (with cross-attention)."""

    def __init__(self, config: EncoderDecoderConfig, layers: int, decoder: bool, rngs: nnx.Rngs):
        shape = (layers, config.d_model, config.heads, config.width)
        self.attention_norm = RMSNorm(config.d_model, layers)
        self.attention = attention.SelfAttention(*shape, rngs)
        if decoder:
            self.cross_attention_norm = RMSNorm(config.d_model, layers)
            self.cross_attention = attention.CrossAttention(*shape, rngs)
        self.feed_forward_norm = RMSNorm(config.d_model, layers)
        self.feed_forward = FeedForward(layers, config.d_model, config.d_ff, config.gated, rngs)


class EncoderDecoder(nnx.Module):
    """All parameters; layers are stacked, the embedding table is shared by both towers."""

    def __init__(self, config: EncoderDecoderConfig, rngs: nnx.Rngs):
        table_axes = ("vocab", "embed")
        self.embedding = normal(rngs, (config.vocab_size, config.d_model), table_axes, fan_in=config.d_model)
        self.encoder = StackedLayers(config, config.encoder_layers, False, rngs)
        self.encoder_norm = RMSNorm(config.d_model)
        self.decoder = StackedLayers(config, config.decoder_layers, True, rngs)
        self.decoder_norm = RMSNorm(config.d_model)
        if config.position == "relative":
            self.encoder_bias = positions.RelativeBias(config.relative_buckets, config.heads, rngs)
            self.decoder_bias = positions.RelativeBias(config.relative_buckets, config.heads, rngs)
        if not config.tied_head:
            self.head = normal(rngs, (config.vocab_size, config.d_model), table_axes, fan_in=config.d_model)
