"""Normalisation over channels: by the root mean square (Zhang & Sennrich, arXiv 1910.07467), and by mean and
variance, with a bias (Ba et al., arXiv 1607.06450)."""

import jax
import jax.numpy as jnp
from flax import nnx

from pangu_jax.models.parameters import Tree, ones, zeros

EPSILON = 1e-6  # beside the mean square


class RMSNorm(nnx.Module):
    """One scale per channel, stacked over layers: `scale` is [layers, embed], or [embed] when alone."""

    def __init__(self, d_model: int, layers: int | None = None):
        stacked = layers is not None
        self.scale = ones(
            (layers, d_model) if stacked else (d_model,), ("layers", "norm") if stacked else ("norm",)
        )


def rms_norm(x_BxTxD: jax.Array, scale_D: jax.Array, epsilon: float = EPSILON) -> jax.Array:
    """x / rms(x) * scale, the statistics in fp32, the result in x's dtype."""
    x = x_BxTxD.astype(jnp.float32)
    inverse = jax.lax.rsqrt(jnp.mean(jnp.square(x), axis=-1, keepdims=True) + epsilon)
    return (x * inverse * scale_D.astype(jnp.float32)).astype(x_BxTxD.dtype)


class LayerNorm(nnx.Module):
    """A scale and a bias per channel: each [embed], or stacked along `stacked` first."""

    def __init__(self, width: int, stacked: tuple[tuple[int, str | None], ...] = ()):
        shape, axes = (*(size for size, _ in stacked), width), (*(name for _, name in stacked), "norm")
        self.scale = ones(shape, axes)
        self.bias = zeros(shape, axes)


def layer_norm(x_BxTxD: jax.Array, norm: Tree, epsilon: float = EPSILON) -> jax.Array:
    """(x - mean) / sqrt(variance + epsilon) * scale + bias; statistics in fp32, the result in x's dtype."""
    x = x_BxTxD.astype(jnp.float32)
    centred = x - jnp.mean(x, axis=-1, keepdims=True)
    inverse = jax.lax.rsqrt(jnp.mean(jnp.square(centred), axis=-1, keepdims=True) + epsilon)
    normed = centred * inverse * norm["scale"].astype(jnp.float32) + norm["bias"].astype(jnp.float32)
    return normed.astype(x_BxTxD.dtype)
