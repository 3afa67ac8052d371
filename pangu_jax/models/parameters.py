"""Parameters as stacked, annotated NNX variables, and their two plain views: arrays and logical axes."""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

Tree = dict[str, Any]


def normal(
    rngs: nnx.Rngs, shape: tuple[int, ...], axes: tuple[str | None, ...], fan_in: int, scale: float = 1.0
) -> nnx.Param:
    """A weight drawn from N(0, scale / fan_in), fp32, with a logical axis name for each dimension.

    `fan_in` is given, not derived: layers are stacked along the first dimension and projections hold
    several heads, so the shape alone does not show it.
    """
    if len(shape) != len(axes):
        raise ValueError(f"a weight of shape {shape} needs {len(shape)} logical axes, got {axes}")
    value = jax.random.normal(rngs.params(), shape, jnp.float32) * math.sqrt(scale / fan_in)
    return nnx.Param(value, axes=axes)


def ones(shape: tuple[int, ...], axes: tuple[str | None, ...]) -> nnx.Param:
    """A scale that starts at one, fp32."""
    return nnx.Param(jnp.ones(shape, jnp.float32), axes=axes)


def zeros(shape: tuple[int, ...], axes: tuple[str | None, ...]) -> nnx.Param:
    """A bias that starts at zero, fp32."""
    return nnx.Param(jnp.zeros(shape, jnp.float32), axes=axes)


def arrays(module: nnx.Module) -> Tree:
    """The parameters of a module as a nested dict of arrays: what the training step works on."""
    return nnx.to_pure_dict(nnx.state(module, nnx.Param))


def logical_axes(build: Callable[[], nnx.Module]) -> Tree:
    """The logical axes of what `build` makes, in the structure of `arrays`; nothing is allocated."""
    state = nnx.state(nnx.eval_shape(build), nnx.Param)
    is_param = lambda leaf: isinstance(leaf, nnx.Variable)  # noqa: E731
    axes = jax.tree.map(lambda param: param.get_metadata()["axes"], state, is_leaf=is_param)
    return nnx.to_pure_dict(axes)
