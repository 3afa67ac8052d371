"""Weights of products in 8 bits: of each output channel the nearest of 255 steps up to its largest.

    w[k, n] is stored as q[k, n] = round(w[k, n] / s[n]), s[n] = max_k |w[k, n]| / 127, and used as q * s

Only what is multiplied with is rounded: norms, biases and positions stay as they are.
"""

import jax
import jax.numpy as jnp
import numpy as np

LEAST = 1024  # weights of a product that are worth it
STEPS = 127


def kept(weight: np.ndarray, summed: int) -> jax.Array | np.ndarray:
    """A weight as the program makes it of its 8 bits; as it is where it has fewer than `LEAST` values.

    Args:
      weight: fp32, of two dimensions.
      summed: the dimension that a product sums over; the other is of output channels.
    """
    if weight.size < LEAST or weight.dtype != np.float32:
        return weight
    quantised, scale = rounded(weight, summed)
    return jnp.asarray(quantised).astype(jnp.float32) * jnp.asarray(scale)


def rounded(weight: np.ndarray, summed: int) -> tuple[np.ndarray, np.ndarray]:
    """int8 of the weight's shape, and fp32 scales with 1 for the dimension summed over."""
    largest = np.max(np.abs(weight), axis=summed, keepdims=True)
    scale = np.maximum(largest / STEPS, np.finfo(np.float32).tiny).astype(np.float32)
    return np.clip(np.rint(weight / scale), -STEPS, STEPS).astype(np.int8), scale
