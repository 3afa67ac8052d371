"""Attention of whole windows by the CPU backend's kernel: no T x S matrix is ever in memory.

Forward and backward as in Dao et al., arXiv 2205.14135; fp32 on one device (`native.takes`). Equal to
`attention.attend` to 1e-6.
"""

import jax
import jax.numpy as jnp
import numpy as np

FEATURES = 16  # a head's width is a multiple of it


def fits(q_BxHxTxK: jax.Array, mask_Bx1xTxS: jax.Array, bias: jax.Array | None) -> bool:
    """Whether the kernel takes these shapes: no bias, and a mask for every example and query."""
    batch, _, queries, width = q_BxHxTxK.shape
    return bias is None and width % FEATURES == 0 and mask_Bx1xTxS.shape[:3] == (batch, 1, queries)


def attend(
    q_BxHxTxK: jax.Array, k_BxHxSxK: jax.Array, v_BxHxSxV: jax.Array, mask_Bx1xTxS: jax.Array
) -> jax.Array:
    """softmax(q k^T, where mask) v, [B, H, T, V]; q is scaled already.

    The kernel has one width: the narrower of keys and values is filled up with zeros (latent attention).
    """
    keys, values = k_BxHxSxK.shape[-1], v_BxHxSxV.shape[-1]
    if keys == values:
        return _attend(q_BxHxTxK, k_BxHxSxK, v_BxHxSxV, mask_Bx1xTxS)
    width = -(-max(keys, values) // FEATURES) * FEATURES

    def filled(x: jax.Array) -> jax.Array:
        return jnp.pad(x, [(0, 0)] * 3 + [(0, width - x.shape[-1])])

    return _attend(filled(q_BxHxTxK), filled(k_BxHxSxK), filled(v_BxHxSxV), mask_Bx1xTxS)[..., :values]


@jax.custom_vjp
def _attend(q: jax.Array, k: jax.Array, v: jax.Array, mask: jax.Array) -> jax.Array:
    return _forward(q, k, v, mask)[0]


def _by_token(x_BxHxTxK: jax.Array) -> jax.Array:
    """[B, T, H, K], as projections leave it: the compiler cancels this against a transposition before it."""
    return x_BxHxTxK.transpose(0, 2, 1, 3)


_by_head = _by_token  # and back


def _forward(q, k, v, mask):
    batch, heads, queries, width = q.shape
    out_BxTxHxK = jax.ShapeDtypeStruct((batch, queries, heads, width), jnp.float32)
    stats_BxHxTx2 = jax.ShapeDtypeStruct((batch, heads, queries, 2), jnp.float32)
    call = jax.ffi.ffi_call("pangu_flash", (out_BxTxHxK, stats_BxHxTx2), vmap_method="sequential")
    q, k, v = _by_token(q), _by_token(k), _by_token(v)
    out, stats = call(q, k, v, mask[:, 0])
    return _by_head(out), (q, k, v, mask, out, stats)


def _backward(saved, d_out):
    q, k, v, mask, out, stats = saved
    gradients = tuple(jax.ShapeDtypeStruct(x.shape, jnp.float32) for x in (q, k, v))
    call = jax.ffi.ffi_call("pangu_flash_backward", gradients, vmap_method="sequential")
    d_q, d_k, d_v = call(q, k, v, mask[:, 0], out, stats, _by_token(d_out))
    return _by_head(d_q), _by_head(d_k), _by_head(d_v), np.zeros(mask.shape, jax.dtypes.float0)


_attend.defvjp(_forward, _backward)
