"""Attention's hand-made backward pass, against the textbook formula differentiated by JAX."""

import jax
import jax.numpy as jnp
import numpy as np

from pangu_jax.models.attention import AttentionMask, attend


def textbook(q, k, v, bias, mask):
    scores = jnp.einsum("bhtk,bhsk->bhts", q, k) + bias
    weights = jax.nn.softmax(jnp.where(mask, scores, -1e30), axis=-1)
    return jnp.einsum("bhts,bhsk->bhtk", weights, v)


def test_value_and_gradients():
    keys = jax.random.split(jax.random.key(0), 5)
    q, k, v, out = (jax.random.normal(key, (2, 3, 5, 4)) for key in keys[:4])
    bias = jax.random.normal(keys[4], (3, 5, 5))
    segments = jnp.array([[1, 1, 2, 2, 2], [1, 1, 1, 1, 0]])
    mask = AttentionMask(segments, segments, jnp.arange(5)).as_array()

    def of(function):
        loss = lambda *inputs: jnp.sum(function(*inputs) * out)  # noqa: E731
        return jax.jit(jax.value_and_grad(loss, argnums=(0, 1, 2, 3)))(q, k, v, bias)

    actual = of(lambda q, k, v, bias: attend(q, k, v, mask, bias))
    expected = of(lambda q, k, v, bias: textbook(q, k, v, bias, mask))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), actual, expected)


def test_a_query_sees_its_own_example_and_nothing_ahead():
    segments = jnp.array([[1, 1, 2, 0]])
    causal = AttentionMask(segments, segments, jnp.arange(4)).as_array()[0, 0].astype(int).tolist()
    assert causal == [[1, 0, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]
    both = AttentionMask(segments, segments).as_array()[0, 0].astype(int).tolist()
    assert both == [[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]
