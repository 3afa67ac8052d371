"""Attention of a few tokens to the columns of a cache."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from pangu_jax.models import cudnn_attention, native
from pangu_jax.models.placement import Placement

Attend = Callable[..., jax.Array]

MANY = 64  # tokens at once from which cuDNN's kernel reads them: a prompt, not the beams of a step


def grouped(
    attend: Attend,
    q_BxHxMxK: jax.Array,
    k_BxGxKxC: jax.Array,
    v_BxGxCxK: jax.Array,
    mask: jax.Array,
    bias: jax.Array | None,
) -> jax.Array:
    """[B, H, M, K] by keys and values of G heads: the queries of a head's H / G are rows side by side."""
    batch, heads, new, width = q_BxHxMxK.shape
    times = heads // k_BxGxKxC.shape[1]
    if times == 1:
        return attend(q_BxHxMxK, k_BxGxKxC, v_BxGxCxK, mask, bias)
    rows = q_BxHxMxK.reshape(batch, heads // times, times * new, width)
    mask = jnp.tile(mask, (1, 1, times, 1)) if mask.shape[2] > 1 else mask
    return attend(rows, k_BxGxKxC, v_BxGxCxK, mask, bias).reshape(batch, heads, new, width)


def attend_by_cudnn(
    placement: Placement,
    attend: Attend,
    q_BxHxMxK: jax.Array,
    k_BxGxKxC: jax.Array,
    v_BxGxCxK: jax.Array,
    mask: jax.Array,
    bias: jax.Array | None,
) -> jax.Array:
    """As `grouped`, and by cuDNN's kernel where there are many tokens and it takes them."""
    k_BxGxCxK = jnp.swapaxes(k_BxGxKxC, 2, 3)
    if q_BxHxMxK.shape[2] < MANY or cudnn_attention.refusal(q_BxHxMxK, k_BxGxCxK, v_BxGxCxK, trains=False):
        return grouped(attend, q_BxHxMxK, k_BxGxKxC, v_BxGxCxK, mask, bias)
    return cudnn_attention.attend_seen(q_BxHxMxK, k_BxGxCxK, v_BxGxCxK, mask, bias, placement)


def attend_plainly(
    q_BxHxMxK: jax.Array, k_BxHxKxC: jax.Array, v_BxHxCxK: jax.Array, mask: jax.Array, bias: jax.Array | None
) -> jax.Array:
    """softmax(q k + bias, where mask) v, [B, H, M, K]; the softmax in fp32, q scaled already."""
    scores = jnp.einsum("bhmk,bhkc->bhmc", q_BxHxMxK, k_BxHxKxC, preferred_element_type=jnp.float32)
    if bias is not None:
        scores += bias
    scores = jnp.where(mask, scores, jnp.finfo(jnp.float32).min)
    exp = jnp.exp(scores - jnp.max(scores, axis=-1, keepdims=True))
    inverse = 1.0 / jnp.sum(exp, axis=-1, keepdims=True)
    dtype = v_BxHxCxK.dtype
    out = jnp.einsum("bhmc,bhck->bhmk", exp.astype(dtype), v_BxHxCxK, preferred_element_type=jnp.float32)
    return (out * inverse).astype(dtype)


def attend_by_kernel(
    q_BxHxMxK: jax.Array, k_BxHxKxC: jax.Array, v_BxHxCxK: jax.Array, mask: jax.Array, bias: jax.Array | None
) -> jax.Array:
    """As `attend_plainly`; the mask [B, 1, M, C] and the bias [H, M, C], M or 1 of them."""
    return native.attend(q_BxHxMxK, k_BxHxKxC, v_BxHxCxK, mask[:, 0], bias)
