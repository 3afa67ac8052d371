"""What Adafactor does once per matrix, for arrays that hold the matrices of several layers.

Adafactor (Shazeer & Stern, arXiv 1804.04235) bounds an update by its root mean square, and scales it by that
of the weights, matrix by matrix. optax's transformations take an array for a matrix. Of layers that are
stacked for `lax.scan` they take one number for all: a layer whose weights are a hundredth of another's would
move seventy times too fast.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from pangu_jax.training import stacked_axes

Tree = Any
SMALLEST_SCALE = 1e-3  # of weights, so that zeros learn


def clip_by_rms(largest: float) -> optax.GradientTransformationExtraArgs:
    """Bound the root mean square of each matrix's update."""
    return _per_matrix(lambda update, weight, rms: update / jnp.maximum(1.0, rms(update) / largest))


def scale_by_weights() -> optax.GradientTransformationExtraArgs:
    """Multiply each matrix's update by the root mean square of its weights, at least `SMALLEST_SCALE`."""
    return _per_matrix(lambda update, weight, rms: update * jnp.maximum(rms(weight), SMALLEST_SCALE))


def _per_matrix(change: Callable[..., jax.Array]) -> optax.GradientTransformationExtraArgs:
    """`change(update, weight, rms)` of each array. `update(..., axes=)` gets the logical axes of all
    parameters, a tree of tuples; without, an array is a matrix."""

    def update(updates: Tree, state: Tree, params: Tree = None, *, axes: Tree = None, **extra: Any):
        del extra
        axes_of = stacked_axes.lookup(axes)

        def changed(path: tuple, update: jax.Array, weight: jax.Array) -> jax.Array:
            named = axes_of(path, update)
            within = tuple(i for i, axis in enumerate(named) if axis not in stacked_axes.STACKED)

            def rms(x: jax.Array) -> jax.Array:
                return jnp.sqrt(jnp.mean(jnp.square(x), within, keepdims=True))

            return change(update, weight, rms)

        return jax.tree_util.tree_map_with_path(changed, updates, params), state

    return optax.GradientTransformationExtraArgs(optax.init_empty_state, update)
