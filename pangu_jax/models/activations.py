"""GELU in the forms that checkpoints have it, with backward passes that keep what goes in and no more."""

import math

import jax
import jax.numpy as jnp

QUICK = 1.702  # of `quick_gelu`


@jax.custom_vjp
def gelu(x: jax.Array) -> jax.Array:
    """GELU by the error function, not by tanh: as PyTorch's nn.GELU and the checkpoints of others have it.

    The backward pass keeps x alone and makes the slope anew, Phi(x) + x phi(x), where the gradient meets it.
    """
    return jax.nn.gelu(x, approximate=False)


def _gelu_backward(x: jax.Array, dy: jax.Array) -> tuple[jax.Array]:
    wide = x.astype(jnp.float32)
    below = 0.5 * (1.0 + jax.lax.erf(wide * math.sqrt(0.5)))
    density = jnp.exp(-0.5 * jnp.square(wide)) * math.sqrt(0.5 / math.pi)
    return ((dy.astype(jnp.float32) * (below + wide * density)).astype(x.dtype),)


gelu.defvjp(lambda x: (gelu(x), x), _gelu_backward)


@jax.custom_vjp
def quick_gelu(x: jax.Array) -> jax.Array:
    """x sigmoid(1.702 x), CLIP's GELU (Hendrycks & Gimpel, arXiv 1606.08415); the backward pass keeps x."""
    return x * jax.nn.sigmoid(QUICK * x)


def _quick_gelu_backward(x: jax.Array, dy: jax.Array) -> tuple[jax.Array]:
    wide = x.astype(jnp.float32)
    share = jax.nn.sigmoid(QUICK * wide)
    slope = share * (1.0 + QUICK * wide * (1.0 - share))
    return ((dy.astype(jnp.float32) * slope).astype(x.dtype),)


quick_gelu.defvjp(lambda x: (quick_gelu(x), x), _quick_gelu_backward)
