"""Normalisation over channels: by the root mean square (Zhang & Sennrich, arXiv 1910.07467), and by mean and
variance, with a bias (Ba et al., arXiv 1607.06450)."""

from functools import partial

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


def normed(x_BxTxD: jax.Array, norm: Tree, epsilon: float = EPSILON) -> jax.Array:
    """`layer_norm` where the norm has a bias, `rms_norm` where it has a scale alone."""
    if "bias" in norm:
        return layer_norm(x_BxTxD, norm, epsilon)
    return rms_norm(x_BxTxD, norm["scale"], epsilon)


class LayerNorm(nnx.Module):
    """A scale and a bias per channel: each [embed], or stacked along `stacked` first."""

    def __init__(self, width: int, stacked: tuple[tuple[int, str | None], ...] = ()):
        shape, axes = (*(size for size, _ in stacked), width), (*(name for _, name in stacked), "norm")
        self.scale = ones(shape, axes)
        self.bias = zeros(shape, axes)


def over_rows(x: jax.Array, leading: int) -> jax.Array:
    """x summed over its first dimensions, in fp32: the last of them apart from the others.

    In one sum a GPU has too few columns to work on, so its compiler writes x down first, in fp32.
    """
    x = x.astype(jnp.float32)
    if leading > 1:
        x = jax.lax.optimization_barrier(jnp.sum(x, leading - 1))
    return jnp.sum(x, tuple(range(max(leading - 1, 1))))


@jax.custom_vjp
def biased(x: jax.Array, bias: jax.Array) -> jax.Array:
    """x [..., *N] + bias [*N], in x's dtype."""
    return x + bias.astype(x.dtype)


biased.defvjp(
    lambda x, bias: (biased(x, bias), bias),
    lambda bias, dy: (dy, over_rows(dy, dy.ndim - bias.ndim).astype(bias.dtype)),
)


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def layer_norm(x_BxTxD: jax.Array, norm: Tree, epsilon: float = EPSILON) -> jax.Array:
    """(x - mean) / sqrt(variance + epsilon) * scale + bias; statistics in fp32, the result in x's dtype.

    The backward pass is written out: it reads x and what is given once, in place of an array in fp32 for each
    step of the formula (measured: docs/vision.md, "Sizes").
    """
    return _layer_norm(x_BxTxD, norm, epsilon)[0]


def _layer_norm(x_BxTxD, norm, epsilon):
    x = x_BxTxD.astype(jnp.float32)
    # Both statistics in one pass. From a channel of the row on, not from 0: else a large mean costs digits.
    start_BxTx1 = x_BxTxD[..., :1].astype(jnp.float32)
    shifted = x - start_BxTx1
    mean_BxTx1 = jnp.mean(shifted, axis=-1, keepdims=True)
    variance_BxTx1 = jnp.mean(jnp.square(shifted), axis=-1, keepdims=True) - jnp.square(mean_BxTx1)
    inverse_BxTx1 = jax.lax.rsqrt(jnp.maximum(variance_BxTx1, 0.0) + epsilon)
    mean_BxTx1 += start_BxTx1
    centred = x - mean_BxTx1
    normed = centred * inverse_BxTx1 * norm["scale"].astype(jnp.float32) + norm["bias"].astype(jnp.float32)
    return normed.astype(x_BxTxD.dtype), (x_BxTxD, norm, mean_BxTx1, inverse_BxTx1)


def _layer_norm_backward(epsilon, saved, dy_BxTxD):
    del epsilon
    x_BxTxD, norm, *statistics = saved
    # As arrays: else the sums over rows below, which cannot make them, want every product in memory in fp32.
    mean_BxTx1, inverse_BxTx1 = jax.lax.optimization_barrier(tuple(statistics))
    dy = dy_BxTxD.astype(jnp.float32)
    plain = (x_BxTxD.astype(jnp.float32) - mean_BxTx1) * inverse_BxTx1
    scaled = dy * norm["scale"].astype(jnp.float32)
    along_BxTx1 = jnp.mean(scaled * plain, axis=-1, keepdims=True)
    dx = inverse_BxTx1 * (scaled - jnp.mean(scaled, axis=-1, keepdims=True) - plain * along_BxTx1)
    d_norm = {"scale": over_rows(dy * plain, dy.ndim - 1), "bias": over_rows(dy, dy.ndim - 1)}
    return dx.astype(x_BxTxD.dtype), {name: d.astype(norm[name].dtype) for name, d in d_norm.items()}


layer_norm.defvjp(_layer_norm, _layer_norm_backward)
