"""Pixels as a trunk takes them, the same for every set."""

import jax
import jax.numpy as jnp
import numpy as np

MEAN, DEVIATION = 0.45, 0.25  # about what photos have, of values of 0 to 1


def centred(pixels: jax.Array) -> jax.Array:
    """Values of 0 to 255 to about 0 and unit variance, fp32."""
    return (jnp.asarray(pixels, jnp.float32) / 255.0 - MEAN) / DEVIATION


def to_bytes(values: np.ndarray) -> np.ndarray:
    """The inverse of `centred`, uint8."""
    return np.clip(np.rint((values * DEVIATION + MEAN) * 255.0), 0, 255).astype(np.uint8)
