"""Cross-entropy over a large vocabulary without ever holding all logits.

The window is taken in chunks. The loss of a chunk and the gradients of its logits are computed together,
so the backward pass multiplies stored gradients by one scalar: three products with the embedding table
instead of the four that recomputing the logits costs, and one chunk of fp32 logits in memory at a time.
The vocabulary may be split over devices: its sums and maxima go through the placement.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

from pangu_jax.models import native
from pangu_jax.models.placement import Placement


@partial(jax.custom_vjp, nondiff_argnums=(4, 5, 6))
def cross_entropy(
    hidden_BxTxD: jax.Array,
    table_VxD: jax.Array,
    targets_BxT: jax.Array,
    weights_BxT: jax.Array,
    z_loss: float,
    chunks: int,
    placement: Placement,
) -> tuple[jax.Array, jax.Array]:
    """Sum over tokens of weight * (-log p(target) + z_loss * log(Z)^2), and each token's plain -log p.

    Args:
      hidden_BxTxD: final hidden states, scaled as the head wants them.
      table_VxD: the head, tied or not; logits are hidden @ table.T, accumulated in fp32.
      targets_BxT: int32 token ids.
      weights_BxT: fp32, 0 where a token carries no loss.
      z_loss: weight of the log-normaliser's square (PaLM, arXiv 2204.02311: 1e-4).
      chunks: pieces of the window whose logits exist one after the other; T is padded to a multiple.
      placement: where the vocabulary's parts live.

    Returns:
      (loss, token_loss_BxT): an fp32 scalar with gradients, and fp32 losses per token without any.
    """
    arguments = (hidden_BxTxD, table_VxD, targets_BxT, weights_BxT, z_loss, chunks, placement)
    loss, token_loss_BxT, _ = _chunked(*arguments, False)
    return loss, token_loss_BxT


def _chunked(hidden, table_VxD, targets, weights, z_loss, chunks, placement, with_gradients):
    batch, length, d_model = hidden.shape
    chunks = min(chunks, length)
    piece = -(-length // chunks)

    def split(x):
        padding = [(0, 0), (0, chunks * piece - length)] + [(0, 0)] * (x.ndim - 2)
        pieces = jnp.pad(x, padding).reshape(batch, chunks, piece, *x.shape[2:])
        return jnp.moveaxis(pieces, 1, 0)

    def join(x):
        return jnp.moveaxis(x, 0, 1).reshape(batch, chunks * piece, *x.shape[3:])[:, :length]

    ids_V = placement.vocabulary_start(table_VxD.shape[0]) + jnp.arange(table_VxD.shape[0])

    products = _KERNELS if native.takes(placement, hidden, table_VxD) else _PLAIN

    def body(table_gradient_VxD, inputs):
        hidden_CxD, targets_C, weights_C = (x.reshape(-1, *x.shape[2:]) for x in inputs)
        logits_CxV = products.logits(hidden_CxD, table_VxD)
        largest_C = placement.vocabulary_max(jnp.max(logits_CxV, axis=-1))
        exp_C = jnp.sum(jnp.exp(logits_CxV - largest_C[:, None]), axis=-1)
        log_z_C = largest_C + jnp.log(placement.vocabulary_sum(exp_C))
        is_target_CxV = targets_C[:, None] == ids_V
        target_logit_C = placement.vocabulary_sum(jnp.sum(jnp.where(is_target_CxV, logits_CxV, 0.0), axis=-1))
        token_loss_C = log_z_C - target_logit_C
        loss = jnp.sum(weights_C * (token_loss_C + z_loss * jnp.square(log_z_C)))
        token_loss = token_loss_C.reshape(batch, piece)
        if not with_gradients:
            return table_gradient_VxD, (loss, token_loss, None)
        scale_C = weights_C * (1.0 + 2.0 * z_loss * log_z_C)
        probabilities_CxV = jnp.exp(logits_CxV - log_z_C[:, None])
        gradient_CxV = (
            scale_C[:, None] * probabilities_CxV - jnp.where(is_target_CxV, weights_C[:, None], 0.0)
        ).astype(hidden.dtype)
        hidden_gradient_CxD = products.of_hidden(gradient_CxV, table_VxD)
        table_gradient_VxD += products.of_table(gradient_CxV, hidden_CxD)
        return table_gradient_VxD, (loss, token_loss, hidden_gradient_CxD.reshape(batch, piece, d_model))

    start = jnp.zeros(table_VxD.shape, jnp.float32) if with_gradients else None
    table_gradient_VxD, (losses, token_loss, hidden_gradient) = jax.lax.scan(
        body, start, (split(hidden), split(targets), split(weights))
    )
    gradients = None
    if table_gradient_VxD is not None:
        gradients = join(hidden_gradient), table_gradient_VxD.astype(table_VxD.dtype)
    return jnp.sum(losses), join(token_loss), gradients


class _Products(NamedTuple):
    """Logits [C, V] of hidden states [C, D] and a table [V, D]; the gradients of both."""

    logits: Callable[[jax.Array, jax.Array], jax.Array]
    of_hidden: Callable[[jax.Array, jax.Array], jax.Array]
    of_table: Callable[[jax.Array, jax.Array], jax.Array]


_PLAIN = _Products(
    partial(jnp.einsum, "cd,vd->cv", preferred_element_type=jnp.float32),
    partial(jnp.einsum, "cv,vd->cd"),
    partial(jnp.einsum, "cv,cd->vd", preferred_element_type=jnp.float32),
)
_KERNELS = _Products(
    partial(native.matmul_transposed, contracted=1),
    partial(native.matmul, contracted=1),
    partial(native.transposed_matmul, contracted=1),
)


def _forward(hidden, table, targets, weights, z_loss, chunks, placement):
    loss, token_loss, gradients = _chunked(hidden, table, targets, weights, z_loss, chunks, placement, True)
    return (loss, token_loss), gradients


def _backward(z_loss, chunks, placement, gradients, cotangents):
    del z_loss, chunks
    # each part of the vocabulary holds the same loss, so its cotangent is the sum of theirs
    loss_cotangent = placement.vocabulary_sum(cotangents[0])
    scale = lambda g: (loss_cotangent * g.astype(jnp.float32)).astype(g.dtype)  # noqa: E731
    hidden_gradient, table_gradient = gradients
    return scale(hidden_gradient), scale(table_gradient), None, None


cross_entropy.defvjp(_forward, _backward)
