"""The chunked loss and its hand-made gradient, against the textbook formula differentiated by JAX."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pangu_jax.models.placement import OneDevice
from pangu_jax.workloads.language.model.cross_entropy import cross_entropy


def textbook(hidden, table, targets, weights, z_loss):
    logits = hidden @ table.T
    log_z = jax.nn.logsumexp(logits, axis=-1)
    losses = log_z - jnp.take_along_axis(logits, targets[..., None], axis=-1)[..., 0]
    return jnp.sum(weights * (losses + z_loss * log_z**2)), losses


@pytest.mark.parametrize("chunks", [3, 1, 64], ids=["divides not", "one", "larger"])
@pytest.mark.parametrize("z_loss", [0.0, 1e-2])
def test_value_and_gradient(chunks, z_loss):
    keys = jax.random.split(jax.random.key(0), 4)
    hidden = jax.random.normal(keys[0], (2, 11, 6)) * 3
    table = jax.random.normal(keys[1], (17, 6))
    targets = jax.random.randint(keys[2], (2, 11), 0, 17)
    weights = jax.random.uniform(keys[3], (2, 11)).at[:, :3].set(0)

    def of(function):
        scaled = lambda h, t: (2.5 * (out := function(h, t))[0], out[1])  # noqa: E731
        return jax.value_and_grad(scaled, argnums=(0, 1), has_aux=True)(hidden, table)

    expected = of(lambda h, t: textbook(h, t, targets, weights, z_loss))
    actual = of(lambda h, t: cross_entropy(h, t, targets, weights, z_loss, chunks, OneDevice()))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-5, atol=1e-5), actual, expected)


def test_huge_logits_stay_finite():
    hidden, table = jnp.full((1, 2, 4), 1e3), jnp.eye(4) * 1e3
    loss, _ = cross_entropy(hidden, table, jnp.array([[0, 1]]), jnp.ones((1, 2)), 1e-4, 1, OneDevice())
    assert jnp.isfinite(loss)


def test_no_program_holds_all_logits():
    """The largest temporary of value and gradient is a chunk of logits, not all of them."""
    tokens, vocabulary, chunks = 512, 4096, 16
    shapes = [jax.ShapeDtypeStruct(s, jnp.float32) for s in ((2, tokens // 2, 8), (vocabulary, 8))]
    targets, weights = jnp.zeros((2, tokens // 2), jnp.int32), jnp.ones((2, tokens // 2))
    loss = lambda h, t: cross_entropy(h, t, targets, weights, 1e-4, chunks, OneDevice())[0]  # noqa: E731
    memory = jax.jit(jax.grad(loss, argnums=(0, 1))).lower(*shapes).compile().memory_analysis()
    assert memory.temp_size_in_bytes < tokens * vocabulary * 4 / 2
