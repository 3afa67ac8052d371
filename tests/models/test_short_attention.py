"""Kernels for attention of short rows, interpreted, against plain attention: values and gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pangu_jax.models import attention, short_attention, short_attention_gpu, short_attention_tpu
from pangu_jax.models.placement import OneDevice

KERNELS = {"tpu": short_attention_tpu, "gpu": short_attention_gpu}


def plain(projected_BxTxHx3xK: jax.Array) -> jax.Array:
    q, k, v = (projected_BxTxHx3xK[:, :, :, part].transpose(0, 2, 1, 3) for part in range(3))
    heads = attention.attend(q * q.shape[-1] ** -0.5, k, v, jnp.ones((1, 1, 1, 1), bool), None)
    return heads.transpose(0, 2, 1, 3)


@pytest.mark.parametrize("length", [9, 49])
@pytest.mark.parametrize("kernel", KERNELS)
def test_value_and_gradient(kernel, length):
    keys = jax.random.split(jax.random.key(length), 2)
    shape = (16, length, 2, 3, 128)
    projected = (2 * jax.random.normal(keys[0], shape)).astype(jnp.bfloat16)
    d_out = jax.random.normal(keys[1], (*shape[:3], 128)).astype(jnp.bfloat16)
    assert KERNELS[kernel].fits(shape)

    ours = lambda projected: short_attention.by_kernel(KERNELS[kernel], projected, interpret=True)  # noqa: E731
    out, backward = jax.vjp(ours, projected)
    exact, exact_backward = jax.vjp(plain, projected.astype(jnp.float32))
    # Both round to bfloat16, at most twice on the way: 8 bits of what is largest beside it.
    for actual, expected in (
        (out, exact),
        (backward(d_out)[0], exact_backward(d_out.astype(jnp.float32))[0]),
    ):
        assert actual.shape == expected.shape
        difference = jnp.abs(actual.astype(jnp.float32) - expected)
        np.testing.assert_array_less(difference, 2**-7 * jnp.max(jnp.abs(expected)))


def test_a_platform_without_a_kernel_and_shapes_that_none_takes():
    told = []
    note = lambda projected: told.append(projected.dtype) or projected[:, :, :, 0]  # noqa: E731
    half = jnp.zeros((16, 9, 1, 3, 128), jnp.bfloat16)
    short_attention.attend(half, OneDevice(), note)
    short_attention.attend(half.astype(jnp.float32), OneDevice(platform="tpu"), note)
    short_attention.attend(half[:8], OneDevice(platform="tpu"), note)
    assert len(told) == 3
    assert not short_attention_gpu.fits((1, 65, 1, 3, 128))
    assert not short_attention_gpu.fits((1, 9, 1, 3, 96))
