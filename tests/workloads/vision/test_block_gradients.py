"""What the backward pass of a residual block keeps, and what it makes of it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from pangu_jax.models import activations
from pangu_jax.models.parameters import arrays, logical_axes
from pangu_jax.models.placement import OneDevice
from pangu_jax.workloads.vision.model import blocks


@pytest.mark.parametrize(
    ("own", "exact"),
    [
        (activations.gelu, lambda x: jax.nn.gelu(x, approximate=False)),
        (activations.quick_gelu, lambda x: x / (1 + jnp.exp(-1.702 * x))),
    ],
)
def test_gelu_and_its_slope_are_those_of_the_formula(own, exact):
    x = jnp.linspace(-6, 6, 101)
    dy = jnp.linspace(1, 2, 101)
    ours, theirs = jax.vjp(own, x), jax.vjp(exact, x)
    np.testing.assert_allclose(ours[0], theirs[0], atol=1e-6)
    np.testing.assert_allclose(*(one[1](dy)[0] for one in (ours, theirs)), atol=2e-6)


class Layer(nnx.Module):
    def __init__(self, rngs: nnx.Rngs):
        self.attention = blocks.AttentionBlock((2, "layers"), 16, 2, rngs)


def test_dots_makes_scores_again_and_no_other_product():
    params = arrays(Layer(nnx.Rngs(0)))
    logical = logical_axes(lambda: Layer(nnx.Rngs(0)))
    x = jax.random.normal(jax.random.key(1), (3, 5, 16))
    kinds = {"attention": blocks.self_attention}

    def loss(params, remat):
        y = blocks.run_blocks(kinds, params, logical, x, OneDevice(), remat, jnp.float32, 1)
        return jnp.sum(y**2)

    products = {
        remat: str(jax.make_jaxpr(jax.grad(loss), static_argnums=1)(params, remat)).count("= dot_general")
        for remat in ("none", "dots")
    }
    assert products["dots"] == products["none"] + 1


def test_gradients_of_queries_keys_and_values_are_joined():
    keys = jax.random.split(jax.random.key(0), 4)
    projected = jax.random.normal(keys[0], (2, 5, 3, 3, 4))
    gradients = tuple(jax.random.normal(key, (2, 3, 5, 4)) for key in keys[1:])
    split = lambda x: tuple(  # noqa: E731
        part[:, :, :, 0].transpose(0, 2, 1, 3) for part in jnp.split(x, 3, axis=3)
    )
    ours, theirs = jax.vjp(blocks._parts, projected), jax.vjp(split, projected)
    jax.tree.map(np.testing.assert_array_equal, ours[0], theirs[0])
    np.testing.assert_array_equal(*(one[1](gradients)[0] for one in (ours, theirs)))
