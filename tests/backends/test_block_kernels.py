"""Blocks of vision by the CPU's kernels against their plain forms: values and all gradients."""

import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from pangu_jax.models import activations, native_blocks
from pangu_jax.models.native_blocks import Linear
from pangu_jax.models.parameters import arrays, logical_axes
from pangu_jax.models.placement import OneDevice
from pangu_jax.workloads.vision.model import blocks
from tests.backends.comparing import close, drawn

pytestmark = pytest.mark.usefixtures("cpu_kernels")


def exact_gelu(x: float) -> float:
    return x / 2 * (1 + math.erf(x / 2**0.5))


def exact_gelu_by_tanh(x: float) -> float:
    return x / 2 * (1 + math.tanh((2 / math.pi) ** 0.5 * (x + 0.044715 * x**3)))


@pytest.mark.parametrize(("by_tanh", "exact"), [(False, exact_gelu), (True, exact_gelu_by_tanh)])
def test_gelu_and_its_slope(by_tanh, exact):
    x = jnp.linspace(-13, 13, 20 * 200, dtype=jnp.float32).reshape(200, 20)  # a vector and four elements
    one = Linear(jnp.eye(20), jnp.zeros(20))
    zeros = jnp.zeros_like(x)
    value, pull = jax.vjp(lambda x: native_blocks.perceptron(x, one, one, zeros, by_tanh), x)
    exact, wide = np.vectorize(exact), np.asarray(x, np.float64)
    np.testing.assert_allclose(value, exact(wide), rtol=2e-7, atol=5e-7)
    slope = (exact(wide + 1e-5) - exact(wide - 1e-5)) / 2e-5
    np.testing.assert_allclose(pull(jnp.ones_like(x))[0], slope, rtol=0, atol=5e-7)


def layers(count: int, width: int, heads: int, biased: bool = True) -> nnx.Module:
    class Layers(nnx.Module):
        def __init__(self, rngs: nnx.Rngs):
            stack = (count, "layers")
            self.attention = blocks.AttentionBlock(stack, width, heads, rngs, biased)
            self.perceptron = blocks.PerceptronBlock(stack, width, 3 * width + 1, rngs)

    return Layers


def shaken(params):
    """Biases and scales that are not zeros and ones."""
    return jax.tree.map(lambda w: w + 0.2 * drawn(w.size, *w.shape), params)


def value_and_gradients(kinds, make, params, x, native: bool, remat="none"):
    axes, out = logical_axes(lambda: make(nnx.Rngs(0))), drawn(9, *x.shape)

    @jax.jit
    def of(params, x):
        def loss(params, x):
            y = blocks.run_blocks(kinds, params, axes, x, OneDevice(native), remat, jnp.float32, unroll=1)
            return jnp.sum(y * out), y

        return jax.value_and_grad(loss, (0, 1), has_aux=True)(params, x)

    (_, y), gradients = of(params, x)
    return y, gradients


# Of heads: by a tile of 32 and of 16 features, and of widths that the kernel of attention does not take.
@pytest.mark.parametrize(
    ("batch", "tokens", "width", "heads"), [(2, 7, 64, 2), (3, 130, 48, 3), (1, 5, 30, 3)]
)
def test_blocks(batch, tokens, width, heads):
    make = layers(1, width, heads)
    params, x = shaken(arrays(make(nnx.Rngs(0)))), drawn(1, batch, tokens, width) + 3
    actual = value_and_gradients(blocks.LAYER, make, params, x, True)
    expected = value_and_gradients(blocks.LAYER, make, params, x, False)
    close(actual[0], expected[0], 2e-6)
    close(actual[1], expected[1], 1e-5)


def test_a_mask_tanh_no_bias_and_rematerialisation():
    make = layers(1, 32, 2, biased=False)
    params, x = shaken(arrays(make(nnx.Rngs(0)))), drawn(1, 2, 40, 32)
    segments = jnp.asarray(np.sort(np.random.default_rng(0).integers(0, 3, (2, 40)), 1))
    seen = segments[:, None, :, None] == segments[:, None, None, :]
    kinds = {
        "attention": partial(blocks.self_attention, seen_Bx1xTxT=seen, epsilon=1e-3),
        "perceptron": partial(blocks.perceptron, activation=jax.nn.gelu, epsilon=1e-3),
    }
    expected = value_and_gradients(kinds, make, params, x, False)
    for remat in ("none", "dots"):
        actual = value_and_gradients(kinds, make, params, x, True, remat)
        close(actual[0], expected[0], 2e-6)
        close(actual[1], expected[1], 1e-5)


def test_norms_after_blocks_and_another_activation():
    make = layers(2, 32, 2)
    params, x = shaken(arrays(make(nnx.Rngs(0)))), drawn(1, 2, 12, 32)
    kinds = {
        "attention": partial(blocks.self_attention, epsilon=1e-3, after=True),
        "perceptron": partial(blocks.perceptron, activation=activations.quick_gelu, epsilon=1e-3, after=True),
    }
    expected = value_and_gradients(kinds, make, params, x, False)
    actual = value_and_gradients(kinds, make, params, x, True)
    close(actual[0], expected[0], 2e-6)
    close(actual[1], expected[1], 1e-5)


def test_a_mask_of_another_shape_is_not_taken():
    qkv = drawn(0, 2, 5, 1, 3, 16)
    assert native_blocks.fits(qkv, None)
    assert native_blocks.fits(qkv, jnp.ones((2, 1, 5, 5), bool))
    assert not native_blocks.fits(qkv, jnp.ones((1, 1, 5, 5), bool))
    assert not native_blocks.fits(drawn(0, 2, 5, 1, 3, 8), None)
