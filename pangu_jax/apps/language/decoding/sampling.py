"""From logits [V, R], as the head leaves them, to tokens: the largest few, cutting off, drawing.

Sums and draws are in fp32 whatever the logits are: for bfloat16 ones `jax.random.categorical` draws its noise
in bfloat16 too, from 128 numbers, and among many equal logits takes nearly always one of the first.
"""

import jax
import jax.numpy as jnp

from pangu_jax.apps.language.decoding.settings import Sampling

BLOCK = 128
HALVINGS = 30  # of the interval in which the nucleus' threshold lies


def largest(x_VxR: jax.Array, count: int) -> tuple[jax.Array, jax.Array]:
    """The `count` largest of each column, best first, and their rows, each [R, count]: those of `top_k`.

    The largest few of a column lie in the few blocks with the largest maxima: two short sorts and one pass
    over the column instead of a long sort.
    """
    size, columns = x_VxR.shape
    blocks = -(-size // BLOCK)
    if blocks <= max(count, 4):
        return jax.lax.top_k(x_VxR.T, count)
    x = jnp.pad(x_VxR, ((0, blocks * BLOCK - size), (0, 0)), constant_values=-jnp.inf)
    x = x.reshape(blocks, BLOCK, columns)
    # In ascending order, so that among equals the lowest row comes first, and the padding last of all.
    block_Rxc = jnp.sort(jax.lax.top_k(jnp.max(x, axis=1).T, count)[1], axis=1)
    inside_RxcxI = x[block_Rxc, :, jnp.arange(columns)[:, None]]
    values, index = jax.lax.top_k(inside_RxcxI.reshape(columns, -1), count)
    block = jnp.take_along_axis(block_Rxc, index // BLOCK, axis=1)
    return values, block * BLOCK + index % BLOCK


def log_normaliser(logits_VxR: jax.Array) -> jax.Array:
    """log sum exp of each column, [R]; not a number where the logits are not."""
    logits_VxR = logits_VxR.astype(jnp.float32)
    largest_R = jnp.max(logits_VxR, axis=0)
    return largest_R + jnp.log(jnp.sum(jnp.exp(logits_VxR - largest_R), axis=0))


def draw(logits_VxR: jax.Array, keys_R: jax.Array, sampling: Sampling) -> jax.Array:
    """A token for each column, int32 [R], from the distribution that the settings leave, by its own key."""
    logits_VxR = logits_VxR.astype(jnp.float32) / sampling.temperature
    if 0 < sampling.top_k < logits_VxR.shape[0]:
        values_Rxk, index_Rxk = largest(logits_VxR, sampling.top_k)
        chosen_R = jax.vmap(jax.random.categorical)(keys_R, nucleus(values_Rxk.T, sampling.top_p).T)
        return jnp.take_along_axis(index_Rxk, chosen_R[:, None], axis=1)[:, 0].astype(jnp.int32)
    kept_VxR = nucleus(logits_VxR, sampling.top_p)
    return jax.vmap(jax.random.categorical, (0, 1))(keys_R, kept_VxR).astype(jnp.int32)


def nucleus(logits_VxR: jax.Array, mass: float) -> jax.Array:
    """Logits, -inf but for the fewest likeliest that hold `mass`: by halving an interval, not by a sort."""
    if mass >= 1.0:
        return logits_VxR
    probability_VxR = jax.nn.softmax(logits_VxR, axis=0)

    def halve(_, interval):
        low_R, high_R = interval
        middle_R = (low_R + high_R) / 2
        enough_R = jnp.sum(jnp.where(probability_VxR >= middle_R, probability_VxR, 0.0), axis=0) >= mass
        return jnp.where(enough_R, middle_R, low_R), jnp.where(enough_R, high_R, middle_R)

    start = jnp.zeros(logits_VxR.shape[1]), jnp.max(probability_VxR, axis=0)
    threshold_R, _ = jax.lax.fori_loop(0, HALVINGS, halve, start)
    return jnp.where(probability_VxR >= threshold_R, logits_VxR, -jnp.inf)
