"""A text tower of its own: learnt positions and attention both ways, as BERT and SigLIP have it.

BERT's (Devlin et al., arXiv 1810.04805; Chinese-CLIP's text tower, arXiv 2211.01335) has its norms after its
blocks, hides padding and is read at its first token. SigLIP's (Zhai et al., arXiv 2303.15343) has them before
its blocks, sees padding as text and is read at its last token.
"""

import functools
from dataclasses import dataclass
from functools import partial
from typing import Literal

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike

from pangu_jax.models.normalization import LayerNorm, layer_norm
from pangu_jax.models.parameters import Tree, arrays, logical_axes, normal, zeros
from pangu_jax.models.placement import OneDevice, Placement
from pangu_jax.models.stack import Remat
from pangu_jax.workloads.vision.model import blocks

SMALL = 2500  # a fan-in that makes a standard deviation of .02
PAD = 0  # of a batch
TOKENS = ("batch", "length")
ACTIVATIONS = {
    "gelu": blocks.gelu_of(False),
    "gelu_tanh": blocks.gelu_of(True),
    "quick_gelu": blocks.gelu_of(False, quick=True),
}


@dataclass(frozen=True)
class TextTransformerConfig:
    """Shape of a text tower.

    Args:
      vocab_size: rows of the embedding table; at least the vocabulary's size.
      length: learnt positions; a text is at most so many tokens.
      d_model: width.
      layers: attention and a perceptron each.
      heads: of attention.
      ratio: hidden width of the perceptrons, in widths.
      norm: "before" each block, and one after the last; or "after" each, and one of the embeddings, as BERT.
      segments: rows of BERT's table of segments, of which the first is added to all tokens; 0 for none.
      pooling: which token stands for a text, "first" or "last".
      masked: whether padding is hidden from attention.
      padding: the id whose embedding padding has; in a batch it is 0.
      projection: width of a layer with a bias after pooling, as SigLIP has it; 0 for none.
      activation: of the perceptrons, "gelu", "gelu_tanh" or "quick_gelu".
      epsilon: of all norms.
      unroll: layers compiled as one iteration of the loop over them.
    """

    vocab_size: int = 8192
    length: int = 64
    d_model: int = 512
    layers: int = 6
    heads: int = 8
    ratio: float = 4.0
    norm: Literal["before", "after"] = "before"
    segments: int = 0
    pooling: Literal["first", "last"] = "first"
    masked: bool = True
    padding: int = PAD
    projection: int = 0
    activation: Literal["gelu", "gelu_tanh", "quick_gelu"] = "gelu"
    epsilon: float = 1e-6
    unroll: int = 1

    def __post_init__(self):
        if self.heads < 1 or self.d_model % self.heads:
            raise ValueError(f"d_model {self.d_model} is not divisible by heads {self.heads}")
        for name in ("vocab_size", "length", "layers"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} {getattr(self, name)}: give a number from 1 on")
        for name, kinds in (("norm", ("before", "after")), ("pooling", ("first", "last"))):
            if getattr(self, name) not in kinds:
                raise ValueError(f"{name} {getattr(self, name)!r} is none of {', '.join(kinds)}")
        if self.activation not in ACTIVATIONS:
            raise ValueError(f"activation {self.activation!r} is none of {', '.join(ACTIVATIONS)}")
        if self.masked and self.pooling == "last":
            raise ValueError("pooling 'last' reads padding: masked = False goes with it")
        if not 0 <= self.padding < self.vocab_size:
            raise ValueError(f"padding {self.padding} is no id below vocab_size {self.vocab_size}")

    @property
    def hidden(self) -> int:
        """Hidden width of the perceptrons."""
        return round(self.ratio * self.d_model)

    @property
    def width(self) -> int:
        """Of what stands for a text."""
        return self.projection or self.d_model

    @property
    def memory_width(self) -> int:
        """0: it has no decoder."""
        return 0

    def init(self, key: jax.Array) -> Tree:
        """Fresh fp32 parameters; a pure function of the key."""
        return arrays(TextTransformer(self, nnx.Rngs(params=key)))

    def axes(self) -> Tree:
        """Logical axes of every parameter, in the structure of `init`."""
        return _axes(self)

    def dimensions(self) -> dict[str, int]:
        """Sizes by logical axis that a layout must divide."""
        return {
            "text_embed": self.d_model,
            "text_heads": self.heads,
            "text_mlp": self.hidden,
            "text_vocab": self.vocab_size,
            "text_layers": self.layers,
            "text_length": 1,  # a text is never cut
        }

    def forward(self, placement: Placement, remat: Remat, dtype: DTypeLike) -> "TextTransformerForward":
        """A forward pass as a run carries it out."""
        return TextTransformerForward(self, placement, remat, dtype)


class TextLayers(nnx.Module):
    """The layers, stacked."""

    def __init__(self, config: TextTransformerConfig, rngs: nnx.Rngs):
        stack, width = (config.layers, "layers"), config.d_model
        self.attention = blocks.AttentionBlock(stack, width, config.heads, rngs)
        self.perceptron = blocks.PerceptronBlock(stack, width, config.hidden, rngs)


class TextTransformer(nnx.Module):
    """All parameters."""

    def __init__(self, config: TextTransformerConfig, rngs: nnx.Rngs):
        width = config.d_model
        self.embedding = normal(rngs, (config.vocab_size, width), ("vocab", "embed"), fan_in=SMALL)
        self.positions = normal(rngs, (config.length, width), (None, "embed"), fan_in=SMALL)
        if config.segments:
            self.segments = normal(rngs, (config.segments, width), (None, "embed"), fan_in=SMALL)
        self.norm = LayerNorm(width)  # of the embeddings, or after the last layer
        self.layers = TextLayers(config, rngs)
        if config.projection:
            self.head = normal(rngs, (width, config.projection), ("embed", None), fan_in=width)
            self.head_bias = zeros((config.projection,), ("norm",))


@dataclass(frozen=True)
class TextTransformerForward:
    """A forward pass: the configuration, and how this run places, rematerialises and rounds."""

    config: TextTransformerConfig
    placement: Placement = OneDevice()  # noqa: RUF009 - stateless
    remat: Remat = "none"
    dtype: DTypeLike = jnp.float32

    def pooled(self, params: Tree, tokens_BxT: jax.Array) -> jax.Array:
        """What stands for each text, fp32 [B, width].

        Args:
          params: of `TextTransformerConfig.init`.
          tokens_BxT: int32, a text's tokens and its end, then 0s; T is at most `length`.
        Raises:
          ValueError: T is more.
        """
        x_BxTxD = self.hidden(params, tokens_BxT)
        pooled_BxD = x_BxTxD[:, 0 if self.config.pooling == "first" else -1]
        if self.config.norm == "before":
            pooled_BxD = layer_norm(pooled_BxD, params["norm"], self.config.epsilon)
        if self.config.projection:
            own = self._gathered(params, ("head", "head_bias"))
            pooled_BxD = pooled_BxD @ own["head"] + own["head_bias"]
        return pooled_BxD.astype(jnp.float32)

    def hidden(self, params: Tree, tokens_BxT: jax.Array) -> jax.Array:
        """What leaves the last layer, [B, T, D], whole: before the last norm, where there is one."""
        config = self.config
        if tokens_BxT.shape[1] > config.length:
            raise ValueError(f"texts of {tokens_BxT.shape[1]} tokens: there are {config.length} positions")
        after, epsilon = config.norm == "after", config.epsilon
        x_BxTxD = self._embedded(params, tokens_BxT)
        attention = partial(
            blocks.self_attention, seen_Bx1xTxT=self._seen(tokens_BxT), epsilon=epsilon, after=after
        )
        gelu = ACTIVATIONS[config.activation]
        kinds = {
            "attention": attention,
            "perceptron": partial(blocks.perceptron, activation=gelu, epsilon=epsilon, after=after),
        }
        place = self.placement, self.remat, self.dtype
        logical = config.axes()["layers"]
        return self.placement.enter(
            blocks.run_blocks(kinds, params["layers"], logical, x_BxTxD, *place, config.unroll)
        )

    def _embedded(self, params: Tree, tokens_BxT: jax.Array) -> jax.Array:
        config, placement = self.config, self.placement
        names = ("embedding", "positions", *(("segments",) if config.segments else ()))
        own = self._gathered(params, names)
        ids_BxT = jnp.where(tokens_BxT == PAD, config.padding, tokens_BxT)
        x_BxTxD = placement.leave(placement.lookup(own["embedding"], ids_BxT))
        added_TxD = own["positions"][: tokens_BxT.shape[1]]
        if config.segments:
            added_TxD += own["segments"][0]
        x_BxTxD += placement.begin(jnp.broadcast_to(added_TxD, (*tokens_BxT.shape, config.d_model)))
        return layer_norm(x_BxTxD, params["norm"], config.epsilon) if config.norm == "after" else x_BxTxD

    def _seen(self, tokens_BxT: jax.Array) -> jax.Array | None:
        """True where a token may look, [B, 1, T, T]; None where it may look everywhere."""
        if not self.config.masked:
            return None
        batch, length = tokens_BxT.shape
        return jnp.broadcast_to((tokens_BxT != PAD)[:, None, None], (batch, 1, length, length))

    def _gathered(self, params: Tree, names: tuple[str, ...]) -> Tree:
        """Parameters outside the layers, brought to where they are used."""
        logical = {name: self.config.axes()[name] for name in names}
        own = {name: params[name].astype(self.dtype) for name in names}
        return dict(self.placement.weights(own, logical))


@functools.cache
def _axes(config: TextTransformerConfig) -> Tree:
    return logical_axes(lambda: TextTransformer(config, nnx.Rngs(0)))
