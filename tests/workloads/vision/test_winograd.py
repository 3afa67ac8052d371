"""Winograd's convolution is the plain one, and its gradients are; and other devices take their own."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from pangu_jax.workloads.vision.model import winograd


@pytest.mark.parametrize("shape", [(2, 13, 18, 16, 24), (3, 30, 70, 16, 16), (9, 8, 8, 16, 16)], ids=str)
def test_it_is_the_plain_convolution(shape):
    """Sides that 4 does not divide, one strip and several, of which the last is not full."""
    batch, height, width, channels, out = shape
    x = jax.random.normal(jax.random.key(0), (batch, height, width, channels))
    kernel = jax.random.normal(jax.random.key(1), (3, 3, channels, out)) / 12
    by_tiles, expected = (jax.jit(by)(x, kernel) for by in (winograd.convolve, winograd.plain))
    np.testing.assert_allclose(by_tiles, expected, atol=2e-5 * float(jnp.abs(expected).max()))


def test_a_batch_may_be_spread():
    """As a held-out loss on many devices has it, by the compiler's partitioning and by hand."""
    mesh = jax.make_mesh((8,), ("data",), (AxisType.Auto,))
    x = jax.random.normal(jax.random.key(0), (8, 20, 20, 16))
    kernel = jax.random.normal(jax.random.key(1), (3, 3, 16, 16)) / 12
    expected = winograd.plain(x, kernel)
    by_hand = jax.shard_map(
        winograd.convolve, mesh=mesh, in_specs=(P("data"), P()), out_specs=P("data"), check_vma=False
    )
    spread = jax.device_put(x, NamedSharding(mesh, P("data")))
    for by in (winograd.convolve, by_hand):
        np.testing.assert_allclose(jax.jit(by)(spread, kernel), expected, atol=2e-5 * 5)


def test_its_gradients_are_those_of_the_plain_one():
    x, kernel = jnp.ones((1, 4, 4, 16)), jnp.arange(3.0 * 3 * 16 * 16).reshape(3, 3, 16, 16)

    def graded(by):
        return jax.grad(lambda x, kernel: jnp.sum(jnp.sin(by(x, kernel))), (0, 1))(x, kernel)

    ours, theirs = graded(winograd.convolve), graded(winograd.plain)
    jax.tree.map(np.testing.assert_array_equal, ours, theirs)
    assert float(jnp.abs(ours[0]).max()) > 0


def products(text: str) -> bool:
    return "dot_general" in text


def test_other_devices_few_channels_and_other_dtypes_take_the_compilers_own():
    lowered = jax.jit(winograd.convolve).trace
    x, kernel = jnp.zeros((1, 8, 8, 16)), jnp.zeros((3, 3, 16, 16))
    assert products(lowered(x, kernel).lower(lowering_platforms=("cpu",)).as_text())
    tpu = lowered(x, kernel).lower(lowering_platforms=("tpu",)).as_text()
    assert not products(tpu) and "stablehlo.convolution" in tpu
    half = lowered(x.astype(jnp.bfloat16), kernel.astype(jnp.bfloat16))
    assert not products(half.lower(lowering_platforms=("cpu",)).as_text())
    few = lowered(x[..., :4], kernel[:, :, :4])
    assert not products(few.lower(lowering_platforms=("cpu",)).as_text())
