"""Backward passes that are written out are those of the formulas."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pangu_jax.models.normalization import biased, layer_norm


def normalised(x, norm):
    centred = x - x.mean(-1, keepdims=True)
    scaled = centred / jnp.sqrt((centred**2).mean(-1, keepdims=True) + 1e-6)
    return scaled * norm["scale"] + norm["bias"]


@pytest.mark.parametrize("shape", [(5, 32), (3, 5, 32)])
def test_layer_norm_and_its_gradients_are_the_formula(shape):
    keys = jax.random.split(jax.random.key(0), 4)
    x, dy = (2 + jax.random.normal(key, shape) for key in keys[:2])
    norm = {"scale": 1 + jax.random.normal(keys[2], (32,)), "bias": jax.random.normal(keys[3], (32,))}
    ours, theirs = (jax.vjp(one, x, norm) for one in (layer_norm, normalised))
    np.testing.assert_allclose(ours[0], theirs[0], atol=1e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-5), ours[1](dy), theirs[1](dy))


def test_a_large_mean_costs_no_digits():
    x = np.float32(1000) + np.random.default_rng(0).standard_normal((4, 256)).astype(np.float32)
    exact = x.astype(np.float64)
    exact = (exact - exact.mean(1, keepdims=True)) / exact.std(1, keepdims=True)
    norm = {"scale": jnp.ones(256), "bias": jnp.zeros(256)}
    np.testing.assert_allclose(layer_norm(jnp.asarray(x), norm), exact, atol=2e-4)


@pytest.mark.parametrize("bias", [(4,), (3, 4), (2, 3, 4)])
def test_the_gradient_of_a_bias_is_summed_over_all_rows(bias):
    dy = jax.random.normal(jax.random.key(0), (6, 2, 3, 4)).astype(jnp.bfloat16)
    _, backward = jax.vjp(biased, jnp.zeros_like(dy), jnp.zeros(bias))
    dx, d_bias = backward(dy)
    assert (dx == dy).all() and d_bias.dtype == jnp.float32
    wanted = np.asarray(dy, np.float32).sum(tuple(range(4 - len(bias))))
    np.testing.assert_allclose(d_bias, wanted, atol=1e-5)
