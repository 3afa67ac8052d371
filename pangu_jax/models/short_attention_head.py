"""What a kernel of `short_attention` computes of a head, alike on TPU and GPU but for how they multiply."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

# product(a, b, i, j): summed over dimension i of a and j of b, fp32.
Product = Callable[[jax.Array, jax.Array, int, int], jax.Array]


def attended(
    q_TxK: jax.Array, k_TxK: jax.Array, v_TxK: jax.Array, length: int, product: Product
) -> jax.Array:
    """softmax(q k^T / sqrt(K)) v of the first `length` keys, fp32 [T, K]."""
    exp_TxT, inverse_Tx1 = _softmax(q_TxK, k_TxK, length, product)
    return product(exp_TxT.astype(v_TxK.dtype), v_TxK, 1, 0) * inverse_Tx1


def gradients(
    q_TxK: jax.Array, k_TxK: jax.Array, v_TxK: jax.Array, d_out_TxK: jax.Array, length: int, product: Product
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Those of q, k and v, fp32 [T, K], from that of `attended`; the scores are made anew."""
    exp_TxT, inverse_Tx1 = _softmax(q_TxK, k_TxK, length, product)
    shares_TxT = exp_TxT * inverse_Tx1
    d_v_TxK = product(shares_TxT.astype(q_TxK.dtype), d_out_TxK, 0, 0)
    d_shares_TxT = product(d_out_TxK, v_TxK, 1, 1)
    row_Tx1 = jnp.sum(d_shares_TxT * shares_TxT, axis=-1, keepdims=True)
    d_scores_TxT = (shares_TxT * (d_shares_TxT - row_Tx1) * q_TxK.shape[-1] ** -0.5).astype(q_TxK.dtype)
    return product(d_scores_TxT, k_TxK, 1, 0), product(d_scores_TxT, q_TxK, 0, 0), d_v_TxK


def _softmax(
    q_TxK: jax.Array, k_TxK: jax.Array, length: int, product: Product
) -> tuple[jax.Array, jax.Array]:
    """Of the scores, not yet divided by its sums, and one over them; 0 for keys that are not there."""
    scores_TxT = product(q_TxK, k_TxK, 1, 1) * q_TxK.shape[-1] ** -0.5
    if length < (rows := k_TxK.shape[0]):
        scores_TxT = jnp.where(jnp.arange(rows)[None, :] < length, scores_TxT, -jnp.inf)
    exp_TxT = jnp.exp(scores_TxT - jnp.max(scores_TxT, axis=-1, keepdims=True))
    return exp_TxT, 1.0 / jnp.sum(exp_TxT, axis=-1, keepdims=True)
