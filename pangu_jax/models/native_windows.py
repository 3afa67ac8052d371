"""Attention inside windows with a bias, by the CPU backend's kernel: scores stay in the first cache.

fp32 on one device (`native.takes`). The plain form computes the same to 1e-6
(`workloads/science/model/window_attention.py`).
"""

import jax
import jax.numpy as jnp

FEATURES = 8  # a head's width is a multiple of it


def fits(qkv_BxPxGxNxHx3xK: jax.Array) -> bool:
    """Whether the kernel takes heads of this width."""
    return qkv_BxPxGxNxHx3xK.shape[-1] % FEATURES == 0


@jax.custom_vjp
def attend(qkv_BxPxGxNxHx3xK: jax.Array, bias_PxGxHxMxN: jax.Array) -> jax.Array:
    """softmax(q k^T / sqrt(K) + bias) v in every window, [B, P, G, N, H, K].

    Args:
      qkv_BxPxGxNxHx3xK: fp32, not scaled.
      bias_PxGxHxMxN: fp32, key by query; P and G may be 1 for all. A large negative number hides a key.
    """
    return _attend(qkv_BxPxGxNxHx3xK, bias_PxGxHxMxN)[0]


def _attend(qkv, bias):
    *windows, tokens, heads, _, width = qkv.shape
    out = jax.ShapeDtypeStruct((*windows, tokens, heads, width), jnp.float32)
    stats = jax.ShapeDtypeStruct((*windows, heads, 2, tokens), jnp.float32)
    out, stats = jax.ffi.ffi_call("pangu_windows", (out, stats), vmap_method="sequential")(qkv, bias)
    return out, (qkv, bias, stats)


def _attend_backward(saved, d_out):
    qkv, bias, stats = saved
    made = tuple(jax.ShapeDtypeStruct(array.shape, jnp.float32) for array in (qkv, bias))
    return jax.ffi.ffi_call("pangu_windows_backward", made, vmap_method="sequential")(qkv, bias, stats, d_out)


attend.defvjp(_attend, _attend_backward)
