"""Chains of elementwise ops and reductions of rows, each of which fits one kernel of the vector cores."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from tpu_npu_backends.errors import BackendError

ACTIVATIONS: dict[str, Callable[[jax.Array], jax.Array]] = {
    "gelu": jax.nn.gelu,  # Hendrycks and Gimpel 2016, by tanh
    "silu": jax.nn.silu,
    "relu": jax.nn.relu,
}


def activate(x: jax.Array, activation: str | None) -> jax.Array:
    """x, or a function of it by its name; BackendError with the choices for another name."""
    if activation is None:
        return x
    if activation not in ACTIVATIONS:
        raise BackendError(f"no activation {activation!r}: it is one of {', '.join(ACTIVATIONS)}")
    return ACTIVATIONS[activation](x)


def bias_activation(x_MxN: jax.Array, bias_N: jax.Array, activation: str | None = "gelu") -> jax.Array:
    """activation(x + bias): [M, N]."""
    return activate(x_MxN + bias_N, activation)


def rms_norm(x_MxD: jax.Array, gain_D: jax.Array, epsilon: float = 1e-6) -> jax.Array:
    """x over its root mean square in float32, times the gain (Zhang and Sennrich 2019): [M, D], x's dtype."""
    x = x_MxD.astype(jnp.float32)
    normed = x * jax.lax.rsqrt(jnp.mean(x * x, axis=-1, keepdims=True) + epsilon)
    return (normed * gain_D.astype(jnp.float32)).astype(x_MxD.dtype)


def rms_norm_residual(
    x_MxD: jax.Array, residual_MxD: jax.Array, gain_D: jax.Array, epsilon: float = 1e-6
) -> tuple[jax.Array, jax.Array]:
    """The new residual x + residual, and its `rms_norm`: both [M, D]."""
    total_MxD = x_MxD + residual_MxD
    return total_MxD, rms_norm(total_MxD, gain_D, epsilon)
