"""Attention inside windows with a bias, by the CPU backend's kernel: it cuts the grid into windows itself,
and their scores stay in the first cache.

fp32 on one device (`native.takes`). The plain form computes the same to 1e-6
(`workloads/science/model/window_attention.py`).
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

FEATURES = 8  # a head's width is a multiple of it
Sides = tuple[int, int, int]


def fits(width: int) -> bool:
    """Whether the kernel takes heads of this width."""
    return width % FEATURES == 0


@partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def attend(qkv_BxWxZxYxHx3xK: jax.Array, bias_PxGxHxMxN: jax.Array, window: Sides, roll: bool) -> jax.Array:
    """softmax(q k^T / sqrt(K) + bias) v in every window, [B, W, Z, Y, H, K].

    Args:
      qkv_BxWxZxYxHx3xK: fp32, not scaled, of a grid of whole windows: longitudes, levels, latitudes.
      bias_PxGxHxMxN: fp32, key by query, tokens by level, latitude, longitude; P and G may be 1 for all. A
        large negative number hides a key.
      window: levels, latitudes, longitudes.
      roll: whether windows begin half a window further on, in all three.
    """
    return _attend(qkv_BxWxZxYxHx3xK, bias_PxGxHxMxN, window, roll)[0]


def _attend(qkv, bias, window, roll):
    batch, *grid, heads, _, width = qkv.shape
    tokens = int(np.prod(window))
    out = jax.ShapeDtypeStruct((batch, *grid, heads, width), jnp.float32)
    stats = jax.ShapeDtypeStruct((batch, int(np.prod(grid)) // tokens, heads, 2, tokens), jnp.float32)
    out, stats = _call("pangu_windows", (out, stats), window, roll)(qkv, bias)
    return out, (qkv, bias, stats)


def _attend_backward(window, roll, saved, d_out):
    qkv, bias, stats = saved
    made = tuple(jax.ShapeDtypeStruct(array.shape, jnp.float32) for array in (qkv, bias))
    return _call("pangu_windows_backward", made, window, roll)(qkv, bias, stats, d_out)


attend.defvjp(_attend, _attend_backward)


def _call(name, made, window, roll):
    call = jax.ffi.ffi_call(name, made, vmap_method="sequential")
    names = dict(zip(("level", "latitude", "longitude"), map(np.int64, window), strict=True))
    return partial(call, roll=np.int64(roll), **names)
