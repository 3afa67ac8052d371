"""Contrasts of all pairs against their formulas in numpy, and what must not matter to them."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pangu_jax.models.placement import OneDevice
from pangu_jax.workloads.multimodal.model import contrast

PAIRS, WIDTH = 9, 5
FEW = settings(max_examples=20)
SEEDS = st.integers(0, 2**16)


@jax.jit
def both(image, text, weight, log_scale, bias):
    given = image, text, weight, log_scale
    return contrast.clip(*given, OneDevice()), contrast.siglip(*given, bias, OneDevice())


def drawn(seed, pairs=PAIRS):
    """Unit embeddings; texts are somewhat like their pictures."""
    rng = np.random.default_rng(seed)
    image = rng.normal(size=(pairs, WIDTH))
    text = image + rng.normal(size=(pairs, WIDTH))
    return [(x / np.linalg.norm(x, axis=-1, keepdims=True)).astype(np.float32) for x in (image, text)]


def log_sum(x, axis):
    return np.log(np.sum(np.exp(x), axis=axis))


def clip_formula(image, text, log_scale):
    logits = np.exp(min(log_scale, math.log(100))) * image.astype(float) @ text.T
    return 0.5 * (log_sum(logits, 1) + log_sum(logits, 0)) - np.diag(logits)


def siglip_formula(image, text, log_scale, bias):
    logits = np.exp(min(log_scale, math.log(100))) * image.astype(float) @ text.T + bias
    signs = 2 * np.eye(len(image)) - 1
    return np.sum(np.log1p(np.exp(-signs * logits)), axis=1)


@FEW
@given(SEEDS, st.floats(-1, 6), st.floats(-12, 2), st.integers(1, PAIRS))
def test_the_formulas_of_the_papers(seed, log_scale, bias, filled):
    """Of the rows that count: those of weight 0 hold anything, and have no loss."""
    image, text = drawn(seed)
    weight = (np.arange(PAIRS) < filled).astype(np.float32)
    clip, siglip = both(image, text, weight, jnp.float32(log_scale), jnp.float32(bias))
    image, text = image[:filled], text[:filled]
    expected = clip_formula(image, text, log_scale), siglip_formula(image, text, log_scale, bias)
    near = image @ text.T
    right = np.sum(near >= np.diag(near)[:, None] - contrast.TIE, axis=1) == 1
    for term, loss in zip((clip, siglip), expected, strict=True):
        np.testing.assert_allclose(term.loss_B[:filled], loss, rtol=2e-5, atol=5e-5)
        np.testing.assert_array_equal(term.right_B[:filled], right)
        assert not np.any(term.loss_B[filled:]) and not np.any(term.right_B[filled:])


@FEW
@given(SEEDS, st.permutations(range(PAIRS)))
def test_the_order_of_pairs_does_not_matter(seed, order):
    image, text = drawn(seed)
    weight = (np.arange(PAIRS) % 4 > 0).astype(np.float32)
    order, scalars = np.array(order), (jnp.float32(2.0), jnp.float32(-3.0))
    there, back = (
        both(image, text, weight, *scalars),
        both(image[order], text[order], weight[order], *scalars),
    )
    for term, permuted in zip(there, back, strict=True):
        np.testing.assert_allclose(permuted.loss_B, term.loss_B[order], rtol=1e-5, atol=1e-6)
        np.testing.assert_array_equal(permuted.right_B, term.right_B[order])


def test_a_model_that_says_the_same_of_everything_is_never_right():
    same = np.repeat(drawn(0)[0][:1], PAIRS, axis=0)
    clip, siglip = both(same, same, np.ones(PAIRS), jnp.float32(4.0), jnp.float32(-10.0))
    np.testing.assert_allclose(clip.loss_B, math.log(PAIRS), rtol=1e-5)
    assert not np.any(clip.right_B) and not np.any(siglip.right_B)
    clip, siglip = both(*drawn(0), np.ones(PAIRS), jnp.float32(4.0), jnp.float32(-10.0))
    assert np.any(clip.right_B) and np.any(siglip.right_B)


def test_the_scale_ends_at_100():
    image, text = drawn(1)
    at, above = (
        both(image, text, np.ones(PAIRS), jnp.float32(x), jnp.float32(0)) for x in (math.log(100), 9)
    )
    jax.tree.map(np.testing.assert_array_equal, at, above)


@pytest.mark.parametrize("number", [0, 1])
def test_the_gradient_is_that_of_the_loss(number):
    """By finite differences, of scale and bias; and rows of weight 0 get none."""
    image, text = drawn(2)
    weight = (np.arange(PAIRS) < 7).astype(np.float32)

    def loss(image, text, log_scale, bias):
        return jnp.sum(both(image, text, weight, log_scale, bias)[number].loss_B)

    found = jax.grad(loss, (0, 1, 2, 3))(image, text, jnp.float32(1.5), jnp.float32(-2.0))

    def slope(scale, bias):
        log_scale, bias = np.array([1.5 + scale, 1.5 - scale]), np.array([-2.0 + bias, -2.0 - bias])
        arguments = zip(log_scale, bias, strict=True) if number else ((x,) for x in log_scale)
        formula = siglip_formula if number else clip_formula
        above, below = (np.sum(formula(image[:7], text[:7], *x)) for x in arguments)
        return (above - below) / 2e-4

    np.testing.assert_allclose(found[2:], [slope(1e-4, 0), slope(0, 1e-4)], rtol=1e-4, atol=1e-4)
    assert all(np.any(x[:7]) and not np.any(x[7:]) for x in found[:2])
