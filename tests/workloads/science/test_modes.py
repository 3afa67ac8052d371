"""Low modes by products: NumPy's FFT on every grid, both ends of every axis, Nyquist and odd sizes."""

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pangu_jax.workloads.science.operators.controls import truncated
from pangu_jax.workloads.science.operators.modes import field, low_modes, mode_shape


def wanted(x, modes):
    """Coefficients by numpy.fft: the last axis from 0, others from -(K-1); zero from Nyquist on."""
    axes = tuple(range(1, x.ndim - 1))
    spectrum = np.fft.fftn(x, axes=axes) / np.prod(x.shape[1:-1])
    for axis in axes:
        waves = np.arange(0 if axis == axes[-1] else 1 - modes, modes)
        there = (2 * np.abs(waves) < x.shape[axis]).reshape([-1 if a == axis else 1 for a in range(x.ndim)])
        spectrum = np.where(there, np.take(spectrum, waves % x.shape[axis], axis), 0)
    return spectrum


@pytest.mark.parametrize(
    ("points", "modes"), [((8,), 3), ((9,), 5), ((8,), 7), ((8, 6), 3), ((7, 9), 4), ((5, 6, 7), 3)]
)
def test_they_are_those_of_the_fft(points, modes):
    x = np.random.default_rng(0).normal(size=(2, *points, 3)).astype(np.float32)
    found = low_modes(jnp.asarray(x), modes)
    assert found.real.shape == (2, *mode_shape(len(points), modes), 3)
    expected = wanted(x, modes)
    np.testing.assert_allclose(found.real, expected.real, atol=1e-6)
    np.testing.assert_allclose(found.imaginary, expected.imag, atol=1e-6)


@settings(max_examples=10, deadline=None)
@given(st.lists(st.sampled_from((4, 5, 8)), min_size=1, max_size=2), st.sampled_from((2, 3)))
def test_there_and_back_is_the_field_without_its_high_modes(points, modes):
    x = np.random.default_rng(1).normal(size=(1, *points, 2)).astype(np.float32)
    found = np.asarray(field(low_modes(jnp.asarray(x), modes), tuple(points)))
    expected = np.stack([truncated(x[..., at], modes) for at in range(2)], -1)
    np.testing.assert_allclose(found, expected, atol=2e-6)


def test_a_finer_grid_shows_the_same_modes():
    place = np.arange(16) / 16
    x = (np.sin(2 * np.pi * place) + np.cos(6 * np.pi * place)).astype(np.float32)[None, :, None]
    fine = np.asarray(field(low_modes(jnp.asarray(x), 4), (32,)))
    np.testing.assert_allclose(fine[:, ::2], x, atol=1e-6)
    same = low_modes(jnp.asarray(fine), 4)
    np.testing.assert_allclose(same.real, low_modes(jnp.asarray(x), 4).real, atol=1e-6)
