"""The language family's encoder-decoder as the text side: its encoder reads, its decoder writes captions.

What stands for a text is the mean over its tokens of what leaves the encoder. The decoder is what it is in
the language family, with a picture's units in the place of the encoder's output: so a run of language is
taken over whole.
"""

import dataclasses
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from pangu_jax.models.parameters import Tree
from pangu_jax.models.placement import Placement
from pangu_jax.models.stack import Remat
from pangu_jax.workloads.language.model import architecture
from pangu_jax.workloads.language.model.encoder_decoder import EncoderDecoderConfig
from pangu_jax.workloads.language.model.forward import Forward

DECODER = ("decoder", "decoder_norm", "decoder_bias", "head")  # parameters that writing alone needs
START = 0  # of a caption that is written: the id of padding, as in the language family


@dataclass(frozen=True)
class LanguageTower:
    """An encoder-decoder's shape as a `TextTower`.

    Args:
      config: of the encoder-decoder.
      writes: whether the decoder is there.
    """

    config: EncoderDecoderConfig
    writes: bool = True

    @property
    def width(self) -> int:
        """Of both towers."""
        return self.config.d_model

    @property
    def vocab_size(self) -> int:
        """Rows of the table."""
        return self.config.vocab_size

    @property
    def memory_width(self) -> int:
        """That of the decoder, if it is there."""
        return self.config.d_model if self.writes else 0

    def init(self, key: jax.Array) -> Tree:
        """Fresh fp32 parameters, as the language family has them; those of a decoder if it is there."""
        return self.kept(architecture.init(self.config, key))

    def axes(self) -> Tree:
        """Their logical axes."""
        return self.kept(architecture.axes(self.config))

    def kept(self, tree: Tree) -> Tree:
        """Of a tree by an encoder-decoder's names, what is used here."""
        return tree if self.writes else {name: own for name, own in tree.items() if name not in DECODER}

    def dimensions(self) -> dict[str, int]:
        """Sizes by logical axis that a layout must divide."""
        found = self.config.dimensions()
        if not self.writes:
            del found["decoder_layers"]
        return {f"text_{name}": size for name, size in found.items()}

    def forward(self, placement: Placement, remat: Remat, dtype: DTypeLike) -> "LanguageForward":
        """A forward pass as a run carries it out."""
        return LanguageForward(Forward(self.config, placement, remat, dtype))


@dataclass(frozen=True)
class LanguageForward:
    """A forward pass of the encoder, and of the decoder beside a picture."""

    inner: Forward

    def pooled(self, params: Tree, tokens_BxT: jax.Array) -> jax.Array:
        """The mean of the encoder's output over a text's tokens, [B, D], fp32."""
        here_BxT = tokens_BxT > 0
        batch = {
            "encoder_input_tokens": tokens_BxT,
            "encoder_segment_ids": here_BxT.astype(jnp.int32),
            "encoder_positions": _positions(tokens_BxT),
        }
        x_BxTxD = self.inner.placement.enter(self.inner.encode(params, batch)).astype(jnp.float32)
        count_Bx1 = jnp.maximum(jnp.sum(here_BxT, axis=1, keepdims=True), 1)
        return jnp.einsum("btd,bt->bd", x_BxTxD, here_BxT / count_Bx1)

    def caption_loss(
        self, params: Tree, tokens_BxT: jax.Array, memory_BxUxD: jax.Array, weights_BxT: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        """Cross-entropy of captions beside pictures.

        Args:
          params: the tower's.
          tokens_BxT: int32, 0 after the end.
          memory_BxUxD: the pictures' units, whole; in the residual stream's width.
          weights_BxT: fp32, of each token.
        Returns:
          The weighted sum, fp32, with gradients; and fp32 [B, T], nats of each token, without.
        """
        batch = caption_batch(tokens_BxT, memory_BxUxD.shape[1]) | {
            "decoder_target_tokens": tokens_BxT,
            "decoder_loss_weights": weights_BxT,
        }
        inner = self.inner
        payload = inner.begin_decoder(params, batch, inner.placement.begin(memory_BxUxD.astype(inner.dtype)))
        payload = inner.run_tower(1, params["decoder"], params, payload, batch, None, 0)
        found = inner.finish(params, payload, batch)
        return found.total, found.token_loss_BxT


def caption_batch(tokens_BxT: jax.Array, units: int) -> dict[str, jax.Array]:
    """What the decoder reads of captions and of so many units of each picture."""
    first_Bx1 = jnp.full((tokens_BxT.shape[0], 1), START, tokens_BxT.dtype)
    return {
        "encoder_segment_ids": jnp.ones((tokens_BxT.shape[0], units), jnp.int32),
        "decoder_input_tokens": jnp.concatenate([first_Bx1, tokens_BxT[:, :-1]], axis=1),
        "decoder_segment_ids": jnp.ones(tokens_BxT.shape, jnp.int32),  # what is after the end has no loss
        "decoder_positions": _positions(tokens_BxT),
    }


def without_dropout(config: EncoderDecoderConfig) -> EncoderDecoderConfig:
    """The same shape; nothing is dropped here."""
    return dataclasses.replace(config, dropout=0.0)


def _positions(tokens_BxT: jax.Array) -> jax.Array:
    return jnp.broadcast_to(jnp.arange(tokens_BxT.shape[1]), tokens_BxT.shape)
