"""The Pangu NLP model: a pre-norm encoder-decoder over packed windows of tokens.

The announced ~100B model has no public description. What stands here is a chosen, well-known
formulation: T5's layout (Raffel et al., arXiv 1910.10683) with rotary positions by default.
Modules hold parameters; the forward pass is plain JAX over their arrays.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from pangu_jax.models import attention, positions
from pangu_jax.models.cross_entropy import cross_entropy
from pangu_jax.models.feed_forward import ACTIVATIONS, FeedForward, feed_forward
from pangu_jax.models.normalization import RMSNorm, rms_norm
from pangu_jax.models.parameters import Tree, arrays, logical_axes, normal
from pangu_jax.models.placement import Placement
from pangu_jax.models.stack import Remat, run_layers


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
      position: "rotary", or "relative": T5's bias, one table a tower.
      tied_head: the head is the embedding table, or else a table of its own.
      head_scale: factor on the head's input; T5 checkpoints with a tied head have d_model^-0.5.
      attention_scale: factor on the scores; head_dim^-0.5 when None. T5 checkpoints have 1.0.
      relative_buckets: buckets of the relative bias.
      relative_max_distance: distance from which all fall into the last bucket.
      dropout: rate on each block's output, 0 in pretraining.
      z_loss: weight of log(Z)^2 in the loss.
      loss_chunk: tokens whose logits exist at one time.
      unroll: layers compiled as one iteration of the loop over layers.
    """

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
    loss_chunk: int = 1024
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
        for name in ("vocab_size", "d_model", "d_ff", "heads", "encoder_layers", "decoder_layers"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")

    @property
    def width(self) -> int:
        """Width of one attention head."""
        return self.head_dim or self.d_model // self.heads

    @property
    def scale(self) -> float:
        """Factor on the attention scores."""
        return self.width**-0.5 if self.attention_scale is None else self.attention_scale


class Tower(nnx.Module):
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
        self.encoder = Tower(config, config.encoder_layers, False, rngs)
        self.encoder_norm = RMSNorm(config.d_model)
        self.decoder = Tower(config, config.decoder_layers, True, rngs)
        self.decoder_norm = RMSNorm(config.d_model)
        if config.position == "relative":
            self.encoder_bias = positions.RelativeBias(config.relative_buckets, config.heads, rngs)
            self.decoder_bias = positions.RelativeBias(config.relative_buckets, config.heads, rngs)
        if not config.tied_head:
            self.head = normal(rngs, (config.vocab_size, config.d_model), table_axes, fan_in=config.d_model)


def init(config: EncoderDecoderConfig, key: jax.Array) -> Tree:
    """Fresh fp32 parameters, a nested dict; a pure function of the key, so it can be jitted and sharded."""
    return arrays(EncoderDecoder(config, nnx.Rngs(params=key)))


def axes(config: EncoderDecoderConfig) -> Tree:
    """Logical axes of every parameter, in the structure of `init`."""
    return logical_axes(lambda: EncoderDecoder(config, nnx.Rngs(0)))


class Loss(NamedTuple):
    """`total`: fp32 sum over tokens with gradients. `token_loss_BxT`: -log p of each target, without."""

    total: jax.Array
    token_loss_BxT: jax.Array


@dataclass(frozen=True)
class Forward:
    """A forward pass: the configuration, and how this run places, remembers and rounds."""

    config: EncoderDecoderConfig
    placement: Placement = Placement()  # noqa: RUF009 - stateless
    remat: Remat = "none"
    dtype: jnp.dtype = jnp.float32

    def encode(self, params: Tree, batch: Mapping[str, jax.Array], key: jax.Array | None = None) -> jax.Array:
        """The encoder's output [B, S, D]; its input tokens, segment ids and positions are each BxS."""
        segments_BxS = batch["encoder_segment_ids"]
        tower = _TowerInputs(
            mask=attention.segment_mask(segments_BxS, segments_BxS, causal=False),
            rotation=self._rotation(batch["encoder_positions"]),
            bias_HxTxT=self._bias(params.get("encoder_bias"), segments_BxS.shape[1], bidirectional=True),
        )
        x_BxSxD = self._embed(params, batch["encoder_input_tokens"])
        x_BxSxD = self._tower(params["encoder"], self._axes["encoder"], x_BxSxD, tower, key)
        return rms_norm(x_BxSxD, params["encoder_norm"]["scale"])

    def decode(
        self,
        params: Tree,
        batch: Mapping[str, jax.Array],
        memory_BxSxD: jax.Array,
        key: jax.Array | None = None,
    ) -> jax.Array:
        """Final hidden states [B, T, D], scaled for the head, from `decoder_input_tokens` and the memory."""
        segments_BxT = batch["decoder_segment_ids"]
        tower = _TowerInputs(
            mask=attention.segment_mask(segments_BxT, segments_BxT, causal=True),
            rotation=self._rotation(batch["decoder_positions"]),
            bias_HxTxT=self._bias(params.get("decoder_bias"), segments_BxT.shape[1], bidirectional=False),
            memory_BxSxD=self.placement.enter(memory_BxSxD),
            memory_mask=attention.segment_mask(segments_BxT, batch["encoder_segment_ids"], causal=False),
        )
        x_BxTxD = self._embed(params, batch["decoder_input_tokens"])
        x_BxTxD = self._tower(params["decoder"], self._axes["decoder"], x_BxTxD, tower, key)
        hidden_BxTxD = rms_norm(x_BxTxD, params["decoder_norm"]["scale"])
        return hidden_BxTxD * self.config.head_scale

    def logits(self, params: Tree, hidden: jax.Array) -> jax.Array:
        """fp32 logits [..., V] of hidden states [..., D]: for decoding, where few tokens are looked at."""
        table_VxD = self._head(params)
        return jnp.einsum("...d,vd->...v", hidden, table_VxD, preferred_element_type=jnp.float32)

    def loss(self, params: Tree, batch: Mapping[str, jax.Array], key: jax.Array | None = None) -> Loss:
        """Weighted cross-entropy of `decoder_target_tokens` under `decoder_loss_weights`, each BxT."""
        encoder_key, decoder_key = (None, None) if key is None else jax.random.split(key)
        memory_BxSxD = self.encode(params, batch, encoder_key)
        hidden_BxTxD = self.placement.enter(self.decode(params, batch, memory_BxSxD, decoder_key))
        targets_BxT = batch["decoder_target_tokens"]
        total, token_loss_N = cross_entropy(
            hidden_BxTxD.reshape(-1, self.config.d_model),
            self._head(params),
            targets_BxT.reshape(-1),
            batch["decoder_loss_weights"].reshape(-1).astype(jnp.float32),
            self.config.z_loss,
            self.config.loss_chunk,
        )
        return Loss(total, token_loss_N.reshape(targets_BxT.shape))

    @property
    def _axes(self) -> Tree:
        return axes(self.config)

    def _embed(self, params: Tree, tokens_BxT: jax.Array) -> jax.Array:
        table_VxD = self.placement.weights(
            {"embedding": params["embedding"].astype(self.dtype)}, {"embedding": ("vocab", "embed")}
        )["embedding"]
        return self.placement.leave(table_VxD[tokens_BxT])

    def _head(self, params: Tree) -> jax.Array:
        name = "embedding" if self.config.tied_head else "head"
        weights = {name: params[name].astype(self.dtype)}
        return self.placement.weights(weights, {name: ("vocab", "embed")})[name]

    def _rotation(self, positions_BxT: jax.Array) -> positions.Rotation | None:
        if self.config.position != "rotary":
            return None
        return positions.rotation(positions_BxT, self.config.width)

    def _bias(self, params: Tree | None, length: int, *, bidirectional: bool) -> jax.Array | None:
        if params is None:
            return None
        buckets_TxT = positions.relative_buckets(
            length,
            length,
            bidirectional=bidirectional,
            buckets=self.config.relative_buckets,
            max_distance=self.config.relative_max_distance,
        )
        return jnp.transpose(params["table"][buckets_TxT], (2, 0, 1))

    def _tower(
        self, params: Tree, logical: Tree, x_BxTxD: jax.Array, inputs: "_TowerInputs", key
    ) -> jax.Array:
        config, placement = self.config, self.placement
        layer_axes = jax.tree.map(lambda a: a[1:], logical, is_leaf=lambda a: isinstance(a, tuple))

        def block(x_BxTxD, scale_D, compute, key):
            y_BxTxD = placement.leave(compute(placement.enter(rms_norm(x_BxTxD, scale_D))))
            return x_BxTxD + _dropout(y_BxTxD, config.dropout, key)

        def body(x_BxTxD, layer, index):
            layer = placement.weights(jax.tree.map(lambda w: w.astype(self.dtype), layer), layer_axes)
            keys = [None] * 3 if key is None else jax.random.split(jax.random.fold_in(key, index), 3)
            x_BxTxD = block(
                x_BxTxD,
                layer["attention_norm"]["scale"],
                lambda x: attention.self_attention(
                    layer["attention"],
                    x,
                    inputs.mask,
                    inputs.rotation,
                    inputs.bias_HxTxT,
                    config.scale,
                    placement,
                ),
                keys[0],
            )
            if inputs.memory_BxSxD is not None:
                x_BxTxD = block(
                    x_BxTxD,
                    layer["cross_attention_norm"]["scale"],
                    lambda x: attention.cross_attention(
                        layer["cross_attention"],
                        x,
                        inputs.memory_BxSxD,
                        inputs.memory_mask,
                        config.scale,
                        placement,
                    ),
                    keys[1],
                )
            return block(
                x_BxTxD,
                layer["feed_forward_norm"]["scale"],
                lambda x: feed_forward(layer["feed_forward"], x, config.activation, placement),
                keys[2],
            )

        return run_layers(body, params, x_BxTxD, remat=self.remat, unroll=config.unroll)


class _TowerInputs(NamedTuple):
    """What every layer of a tower reads besides the residual stream."""

    mask: jax.Array
    rotation: positions.Rotation | None
    bias_HxTxT: jax.Array | None
    memory_BxSxD: jax.Array | None = None
    memory_mask: jax.Array | None = None


def _dropout(x: jax.Array, rate: float, key: jax.Array | None) -> jax.Array:
    if key is None or rate == 0.0:
        return x
    keep = jax.random.bernoulli(key, 1.0 - rate, x.shape)
    return jnp.where(keep, x / (1.0 - rate), 0.0)
