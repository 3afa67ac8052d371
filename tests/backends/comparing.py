"""Arrays for the tests of kernels, and when two of them are the same."""

import jax
import jax.numpy as jnp
import numpy as np


def drawn(seed: int, *shape: int) -> jax.Array:
    """Standard normal, fp32."""
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape, np.float32))


def close(actual, expected, tolerance=1e-6):
    """Arrays, or trees of them, within the tolerance, relative to the largest magnitude there is."""
    scale = max(float(jnp.max(jnp.abs(leaf))) for leaf in jax.tree.leaves(expected))
    compare = lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * scale)  # noqa: E731
    jax.tree.map(compare, actual, expected)
