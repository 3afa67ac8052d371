"""Cross-entropy over a large vocabulary without ever holding all logits.

Tokens are taken in chunks. The loss of a chunk and the gradients of its logits are computed together, so
the backward pass multiplies stored gradients by one scalar: three products with the embedding table
instead of the four that recomputing the logits costs, and one chunk of fp32 logits in memory at a time.
"""

from functools import partial

import jax
import jax.numpy as jnp


@partial(jax.custom_vjp, nondiff_argnums=(4, 5))
def cross_entropy(
    hidden_NxD: jax.Array,
    table_VxD: jax.Array,
    targets_N: jax.Array,
    weights_N: jax.Array,
    z_loss: float,
    chunk: int,
) -> tuple[jax.Array, jax.Array]:
    """Sum over tokens of weight * (-log p(target) + z_loss * log(Z)^2), and each token's plain -log p.

    Args:
      hidden_NxD: final hidden states, scaled as the head wants them.
      table_VxD: the head, tied or not; logits are hidden @ table.T, accumulated in fp32.
      targets_N: int32 token ids.
      weights_N: fp32, 0 where a token carries no loss.
      z_loss: weight of the log-normaliser's square (PaLM, arXiv 2204.02311: 1e-4).
      chunk: tokens whose logits exist at one time; N is padded up to a multiple of it.

    Returns:
      (loss, token_loss_N): an fp32 scalar with gradients, and fp32 losses per token without any.
    """
    loss, token_loss_N, _ = _chunked(hidden_NxD, table_VxD, targets_N, weights_N, z_loss, chunk, False)
    return loss, token_loss_N


def _chunked(hidden_NxD, table_VxD, targets_N, weights_N, z_loss, chunk, with_gradients):
    tokens, d_model = hidden_NxD.shape
    chunk = min(chunk, tokens)
    chunks = -(-tokens // chunk)

    def split(x):
        padding = [(0, chunks * chunk - tokens)] + [(0, 0)] * (x.ndim - 1)
        return jnp.pad(x, padding).reshape(chunks, chunk, *x.shape[1:])

    def body(table_gradient_VxD, inputs):
        hidden_CxD, targets_C, weights_C = inputs
        logits_CxV = jnp.einsum("cd,vd->cv", hidden_CxD, table_VxD, preferred_element_type=jnp.float32)
        log_z_C = jax.nn.logsumexp(logits_CxV, axis=-1)
        target_logit_C = jnp.take_along_axis(logits_CxV, targets_C[:, None], axis=-1)[:, 0]
        token_loss_C = log_z_C - target_logit_C
        loss = jnp.sum(weights_C * (token_loss_C + z_loss * jnp.square(log_z_C)))
        if not with_gradients:
            return table_gradient_VxD, (loss, token_loss_C, None)
        scale_C = weights_C * (1.0 + 2.0 * z_loss * log_z_C)
        is_target_CxV = targets_C[:, None] == jnp.arange(table_VxD.shape[0])
        probabilities_CxV = jnp.exp(logits_CxV - log_z_C[:, None])
        gradient_CxV = (
            scale_C[:, None] * probabilities_CxV - jnp.where(is_target_CxV, weights_C[:, None], 0.0)
        ).astype(hidden_NxD.dtype)
        hidden_gradient_CxD = jnp.einsum("cv,vd->cd", gradient_CxV, table_VxD)
        table_gradient_VxD += jnp.einsum(
            "cv,cd->vd", gradient_CxV, hidden_CxD, preferred_element_type=jnp.float32
        )
        return table_gradient_VxD, (loss, token_loss_C, hidden_gradient_CxD)

    start = jnp.zeros(table_VxD.shape, jnp.float32) if with_gradients else None
    table_gradient_VxD, (losses, token_loss, hidden_gradient) = jax.lax.scan(
        body, start, (split(hidden_NxD), split(targets_N), split(weights_N))
    )
    gradients = None
    if with_gradients:
        gradients = hidden_gradient.reshape(-1, d_model)[:tokens], table_gradient_VxD.astype(table_VxD.dtype)
    return jnp.sum(losses), token_loss.reshape(-1)[:tokens], gradients


def _forward(hidden_NxD, table_VxD, targets_N, weights_N, z_loss, chunk):
    loss, token_loss_N, gradients = _chunked(hidden_NxD, table_VxD, targets_N, weights_N, z_loss, chunk, True)
    return (loss, token_loss_N), gradients


def _backward(z_loss, chunk, gradients, cotangents):
    del z_loss, chunk
    loss_cotangent, _ = cotangents
    hidden_gradient_NxD, table_gradient_VxD = gradients
    scale = lambda g: (loss_cotangent * g.astype(jnp.float32)).astype(g.dtype)  # noqa: E731
    return scale(hidden_gradient_NxD), scale(table_gradient_VxD), None, None


cross_entropy.defvjp(_forward, _backward)
