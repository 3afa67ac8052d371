"""A decoder alone: what the Pangu models that were published are, and Llama's family with them.

Pre-norm layers of rotary self-attention and a gated feed-forward (openPangu-Embedded, 2505.22375), with fewer
heads of keys and values than of queries (Ainslie et al., arXiv 2305.13245), biases of projections, and norms
after a block as well (Pangu Ultra's sandwich, arXiv 2504.07866) where the configuration says so. Or with
norms that have a bias, learnt positions and a query layer at the end (PanGu-alpha, arXiv 2104.12369).
"""

import dataclasses
from dataclasses import dataclass
from typing import ClassVar, Literal

from flax import nnx

from pangu_jax.models.experts import Experts, ExpertsConfig
from pangu_jax.models.feed_forward import ACTIVATIONS, FeedForward
from pangu_jax.models.grouped_attention import GroupedAttention
from pangu_jax.models.latent_attention import LatentAttention, LatentWidths
from pangu_jax.models.normalization import LayerNorm, RMSNorm
from pangu_jax.models.parameters import normal
from pangu_jax.workloads.language.model.learned_positions import LearnedPositions

JOIN = ("embed", None, None)
QUERY_LAYER = "query_layer"  # of the parameters
SIZES = ("vocab_size", "d_model", "d_ff", "heads", "kv_heads", "layers", "loss_chunks")


@dataclass(frozen=True)
class DecoderConfig:
    """Shape and formulation of a decoder.

    Args:
      vocab_size: rows of the embedding table; at least the vocabulary's size.
      d_model: width of the residual stream.
      d_ff: width of the feed-forward block (each of its two halves when gated).
      heads: heads of queries.
      kv_heads: heads of keys and values, each for heads / kv_heads consecutive heads of queries.
      head_dim: width of one head; d_model / heads when None.
      latent: @LatentAttention(): keys and values of all heads come from a narrow latent, and kv_heads and
        head_dim say nothing.
      layers: layers.
      query_layer: the last of them is behind the final norm and is not normed itself; its queries are made
        of a table of positions in place of the residual stream. It is in no tower that a pipeline cuts.
      position: "rotary", or "learned": a table of vectors that are added to those of tokens.
      positions: rows of such tables, and the most tokens of a window; 0 of rotary positions.
      norm: "rms", or "layer", with a mean that is taken off and a bias.
      activation: "relu", "silu", or "gelu": by tanh; "gelu_exact" by the error function, "gelu_quick" by
        x sigmoid(1.702 x).
      gated: gated feed-forward or plain.
      biases: whether the four projections of attention have one.
      feed_forward_biases: whether those of the feed-forward block have one.
      rope_theta: base of the rotary frequencies; halves of a head are turned against each other.
      epsilon: beside the mean square, or the variance, of every norm.
      predictions: modules that predict one token further each, 0 or 1.
      prediction_weight: of that module's loss beside the model's.
      sandwich: whether a block's output is normed as well, before it is added.
      tied_head: the head is the embedding table, or else a table of its own.
      dropout: rate on each block's output, 0 in pretraining.
      z_loss: weight of log(Z)^2 in the loss.
      experts: @Experts(): experts in place of the feed-forward block, d_ff wide in dense layers alone.
      dense_layers: of `layers` the first, which keep the feed-forward block. They are in no tower that a
        pipeline cuts: each stage runs them on all microbatches.
      loss_chunks: pieces of the window whose logits exist one after the other.
      unroll: layers compiled as one iteration of the loop over layers.
    """

    towers: ClassVar[tuple[str, ...]] = ("decoder",)
    head_scale: ClassVar[float] = 1.0  # on the head's input
    encoder_layers: ClassVar[int] = 0
    vocab_size: int = 8192
    d_model: int = 512
    d_ff: int = 1536
    heads: int = 8
    kv_heads: int = 4
    head_dim: int | None = None
    latent: LatentWidths | None = None
    layers: int = 8
    query_layer: bool = False
    position: Literal["rotary", "learned"] = "rotary"
    positions: int = 0
    norm: Literal["rms", "layer"] = "rms"
    activation: Literal["relu", "gelu", "gelu_exact", "gelu_quick", "silu"] = "silu"
    gated: bool = True
    biases: bool = False
    feed_forward_biases: bool = False
    rope_theta: float = 10_000.0
    epsilon: float = 1e-5
    predictions: int = 0
    prediction_weight: float = 0.3
    sandwich: bool = False
    tied_head: bool = True
    dropout: float = 0.0
    z_loss: float = 0.0
    experts: ExpertsConfig | None = None
    dense_layers: int = 0
    loss_chunks: int = 1
    unroll: int = 1

    def __post_init__(self):
        for name in SIZES:
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.latent and (self.biases or self.head_dim):
            raise ValueError(
                "Decoder.latent has widths of its own and no biases: leave biases and head_dim out"
            )
        if self.predictions not in (0, 1):
            raise ValueError(
                f"predictions {self.predictions}: one module at most, which predicts one token further"
            )
        if not self.latent and self.head_dim is None and self.d_model % self.heads:
            raise ValueError(
                f"d_model {self.d_model} is not divisible by heads {self.heads}; set Decoder.head_dim"
            )
        if not self.latent and self.heads % self.kv_heads:
            raise ValueError(
                f"heads {self.heads} is not divisible by kv_heads {self.kv_heads}: a head of keys serves as "
                "many heads of queries as every other"
            )
        if not 0 <= self.dense_layers < self.layers or (self.dense_layers and not self.experts):
            raise ValueError(
                f"dense_layers {self.dense_layers} are the first of layers {self.layers}, and what is behind "
                "them has Decoder.experts"
            )
        if problem := self._unlike_others():
            raise ValueError(problem)
        if self.position == "rotary" and self.width % 2:
            raise ValueError(f"rotary positions need an even head_dim, got {self.width}")
        if self.activation not in ACTIVATIONS:
            raise ValueError(f"activation {self.activation!r} is unknown: one of {', '.join(ACTIVATIONS)}")
        if self.rope_theta <= 0 or self.epsilon <= 0:
            raise ValueError(f"rope_theta {self.rope_theta} and epsilon {self.epsilon} must be above 0")

    def _unlike_others(self) -> str | None:
        """What is wrong with positions, norms, biases and the query layer."""
        if self.position not in ("rotary", "learned") or self.norm not in ("rms", "layer"):
            return (
                f"position {self.position!r} and norm {self.norm!r}: 'rotary' or 'learned', 'rms' or 'layer'"
            )
        if (self.position == "learned") != (self.positions > 0):
            return f"positions {self.positions}: rows of tables where position is 'learned', and 0 otherwise"
        plain = not (self.latent or self.experts or self.predictions)
        if not plain and (self.position == "learned" or self.norm == "layer" or self.feed_forward_biases):
            return (
                "learned positions, norm 'layer' and feed_forward_biases are of decoders without latent, "
                "experts and predictions: leave these out"
            )
        if self.query_layer and (self.position != "learned" or self.layers < 2):
            return f"a query layer needs position 'learned' and a layer before it, of layers {self.layers}"
        return None

    @property
    def decoder_layers(self) -> int:
        """Layers of the decoder: all there are."""
        return self.layers

    @property
    def tower_layers(self) -> int:
        """Of them, those that a pipeline cuts."""
        return self.layers - self.dense_layers - self.query_layer

    @property
    def routed_layers(self) -> int:
        """Layers with experts, where there are some: those of the tower, then the block that predicts."""
        return self.tower_layers + self.predictions

    @property
    def width(self) -> int:
        """Width of one attention head: of its queries and keys, where values have another."""
        return self.latent.key if self.latent else self.head_dim or self.d_model // self.heads

    @property
    def rotary(self) -> int:
        """Width of the part of a head that is turned by its position."""
        return self.latent.rotary if self.latent else self.width

    @property
    def scale(self) -> float:
        """Factor on the attention scores."""
        return self.width**-0.5

    def module(self, rngs: nnx.Rngs) -> "Decoder":
        """All parameters, fresh."""
        return Decoder(self, rngs)

    def dimensions(self) -> dict[str, int]:
        """Sizes by logical axis that a layout must divide."""
        own = self.latent.dimensions() if self.latent else {"kv_heads": self.kv_heads}
        return {
            "embed": self.d_model,
            "heads": self.heads,
            **own,
            **({"mlp": self.d_ff} if self.dense_layers or not self.experts else {}),
            "vocab": self.vocab_size,
            "decoder_layers": self.tower_layers,
            **(self.experts.dimensions() if self.experts else {}),
        }


def _norm(config: DecoderConfig, layers: int | None = None) -> RMSNorm | LayerNorm:
    """A norm of the residual stream, or one for each of the layers."""
    if config.norm == "rms":
        return RMSNorm(config.d_model, layers)
    return LayerNorm(config.d_model, () if layers is None else ((layers, "layers"),))


def _outside_of_towers(layers: "DecoderLayers") -> "DecoderLayers":
    """The layers as every stage of a pipeline has them."""
    for _, node in nnx.iter_graph(layers):
        if isinstance(node, nnx.Param):
            node.set_metadata("axes", ("blocks", *node.get_metadata("axes")[1:]))
    return layers


class DecoderLayers(nnx.Module):
    """The stacked layers."""

    def __init__(self, config: DecoderConfig, rngs: nnx.Rngs):
        layers, width = config.tower_layers, config.d_model
        self.attention_norm = _norm(config, layers)
        if config.latent:
            self.attention = LatentAttention(layers, width, config.heads, config.latent, rngs)
        else:
            self.attention = GroupedAttention(
                layers, width, config.heads, config.kv_heads, config.width, config.biases, rngs
            )
        if config.experts:
            self.experts_norm = _norm(config, layers)
            self.experts = Experts(layers, width, config.experts, rngs)
        else:
            self.feed_forward_norm = _norm(config, layers)
            self.feed_forward = FeedForward(
                layers, width, config.d_ff, config.gated, rngs, config.feed_forward_biases
            )
        if config.sandwich:
            self.attention_post_norm = _norm(config, layers)
            post = "experts_post_norm" if config.experts else "feed_forward_post_norm"
            setattr(self, post, _norm(config, layers))


class Decoder(nnx.Module):
    """All parameters; layers are stacked: `dense` the first where there are any, `decoder` the others, and
    `query_layer` the last where it is one.
    """

    def __init__(self, config: DecoderConfig, rngs: nnx.Rngs):
        table = (config.vocab_size, config.d_model), ("vocab", "embed")
        self.embedding = normal(rngs, *table, fan_in=config.d_model)
        if config.dense_layers:
            dense = dataclasses.replace(config, layers=config.dense_layers, dense_layers=0, experts=None)
            self.dense = _outside_of_towers(DecoderLayers(dense, rngs))
        self.decoder = DecoderLayers(config, rngs)
        self.decoder_norm = _norm(config)
        if config.position == "learned":
            self.positions = LearnedPositions(config.positions, config.d_model, rngs)
        if config.query_layer:
            one = dataclasses.replace(config, layers=1, query_layer=False)
            self.query_layer = _outside_of_towers(DecoderLayers(one, rngs))
            self.queries = LearnedPositions(config.positions, config.d_model, rngs)
        if not config.tied_head:
            self.head = normal(rngs, *table, fan_in=config.d_model)
        if config.predictions:
            self.prediction = PredictionModule(config, rngs)


class PredictionModule(nnx.Module):
    """The module that predicts one token further: `token_norm` and `hidden_norm` of the two that it reads,
    `join` [embed, 2, width] of both, `block` [1, ...] like a layer of the decoder, `norm` before the head.
    """

    def __init__(self, config: DecoderConfig, rngs: nnx.Rngs):
        width = config.d_model
        self.token_norm, self.hidden_norm = RMSNorm(width), RMSNorm(width)
        self.join = normal(rngs, (width, 2, width), JOIN, fan_in=2 * width)
        block = DecoderLayers(dataclasses.replace(config, layers=1, dense_layers=0), rngs)
        self.block = _outside_of_towers(block)
        self.norm = RMSNorm(width)
