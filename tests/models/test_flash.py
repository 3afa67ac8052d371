"""The TPU's attention kernel, interpreted, against plain attention: values and gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pangu_jax.models import attention, flash
from pangu_jax.models.attention import AttentionMask
from pangu_jax.models.placement import OneDevice

LENGTH, WIDTH = 256, 128


@pytest.mark.parametrize("causal", [True, False])
def test_value_and_gradients(causal):
    keys = jax.random.split(jax.random.key(0), 4)
    q, k, v, out = (jax.random.normal(key, (1, 1, LENGTH, WIDTH)) for key in keys)
    q = q * WIDTH**-0.5
    segments = jnp.where(jnp.arange(LENGTH) < 100, 1, 2)[None]
    mask = AttentionMask(segments, segments, jnp.arange(LENGTH) if causal else None)
    assert flash.fits(mask)

    def of(attend):
        loss = lambda q, k, v: jnp.sum(attend(q, k, v) * out)  # noqa: E731
        return jax.jit(jax.value_and_grad(loss, argnums=(0, 1, 2)))(q, k, v)

    actual = of(lambda q, k, v: flash.attend(q, k, v, mask, OneDevice(), interpret=True))
    expected = of(lambda q, k, v: attention.attend(q, k, v, mask.as_array(), None))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-4), actual, expected)


def test_windows_that_the_kernel_does_not_take():
    odd = jnp.ones((1, 100), jnp.int32)
    assert not flash.fits(AttentionMask(odd, odd))
    part, whole = jnp.ones((1, 128), jnp.int32), jnp.ones((1, 256), jnp.int32)
    assert flash.fits(AttentionMask(part, whole))
    assert not flash.fits(AttentionMask(part, whole, jnp.arange(128)))
