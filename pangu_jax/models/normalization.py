"""Root-mean-square normalisation without bias (Zhang & Sennrich, arXiv 1910.07467)."""

import jax
import jax.numpy as jnp
from flax import nnx

from pangu_jax.models.parameters import ones


class RMSNorm(nnx.Module):
    """One scale per channel, stacked over layers: `scale` is [layers, embed], or [embed] when alone."""

    def __init__(self, d_model: int, layers: int | None = None):
        stacked = layers is not None
        self.scale = ones(
            (layers, d_model) if stacked else (d_model,), ("layers", "norm") if stacked else ("norm",)
        )


def rms_norm(x_BxTxD: jax.Array, scale_D: jax.Array, epsilon: float = 1e-6) -> jax.Array:
    """x / rms(x) * scale, the statistics in fp32, the result in x's dtype."""
    x = x_BxTxD.astype(jnp.float32)
    inverse = jax.lax.rsqrt(jnp.mean(jnp.square(x), axis=-1, keepdims=True) + epsilon)
    return (x * inverse * scale_D.astype(jnp.float32)).astype(x_BxTxD.dtype)
