"""Generating target tokens: one jitted loop on the device over a fixed window.

The whole window is recomputed for every token: right for the few samples of a training report, where it
costs a second and shares the training forward pass to the letter.
"""

from functools import partial

import jax
import jax.numpy as jnp

from pangu_jax.models.forward import Forward
from pangu_jax.models.parameters import Tree


@partial(jax.jit, static_argnames=("forward", "length", "end", "top_k"))
def generate(
    forward: Forward,
    params: Tree,
    tokens_BxS: jax.Array,
    key: jax.Array,
    *,
    length: int,
    end: int,
    temperature: float = 0.0,
    top_k: int = 0,
) -> jax.Array:
    """Tokens drawn one after the other, int32 [B, length]; 0 (padding) after a row's `end`.

    Args:
      forward: the forward pass of the model.
      params: its parameters.
      tokens_BxS: int32 encoder inputs, padded with 0 on the right.
      key: of the draws.
      length: largest number of tokens.
      end: id of the end-of-sequence token.
      temperature: divides the logits; 0 takes the likeliest token.
      top_k: draws among this many likeliest tokens; 0 among all.
    """
    batch_size, source_length = tokens_BxS.shape
    ones_BxT = jnp.ones((batch_size, length), jnp.int32)
    batch = {
        "encoder_input_tokens": tokens_BxS,
        "encoder_segment_ids": (tokens_BxS != 0).astype(jnp.int32),
        "encoder_positions": jnp.broadcast_to(jnp.arange(source_length), tokens_BxS.shape),
        "decoder_segment_ids": ones_BxT,
        "decoder_positions": ones_BxT * jnp.arange(length),
    }
    memory_BxSxD = forward.encode(params, batch)

    def step(position, carry):
        inputs_BxT, running_B = carry
        hidden_BxTxD = forward.decode(
            params, batch | {"decoder_input_tokens": inputs_BxT[:, :-1]}, memory_BxSxD
        )
        logits_BxV = forward.logits(params, hidden_BxTxD[:, position])
        token_B = _draw(logits_BxV, jax.random.fold_in(key, position), temperature, top_k)
        token_B = jnp.where(running_B, token_B, 0)
        return inputs_BxT.at[:, position + 1].set(token_B), running_B & (token_B != end)

    start = jnp.zeros((batch_size, length + 1), jnp.int32), jnp.ones(batch_size, bool)
    return jax.lax.fori_loop(0, length, step, start)[0][:, 1:]


def _draw(logits_BxV: jax.Array, key: jax.Array, temperature: float, top_k: int) -> jax.Array:
    likeliest_B = jnp.argmax(logits_BxV, axis=-1)
    if top_k:
        threshold_Bx1 = jax.lax.top_k(logits_BxV, top_k)[0][:, -1:]
        logits_BxV = jnp.where(logits_BxV < threshold_Bx1, -jnp.inf, logits_BxV)
    drawn_B = jax.random.categorical(key, logits_BxV / jnp.maximum(temperature, 1e-6), axis=-1)
    return jnp.where(temperature > 0, drawn_B, likeliest_B).astype(jnp.int32)
