"""A TPU's kernels for attention in windows, interpreted, against the plain form: values and gradients."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pangu_jax.models.native_blocks import Linear
from pangu_jax.models.placement import OneDevice
from pangu_jax.workloads.science.model import window_attention_tpu, windows_on_tpu
from pangu_jax.workloads.science.model.token_grid import TokenGrid
from pangu_jax.workloads.science.model.window_attention import window_attention
from pangu_jax.workloads.science.model.window_tiles import WindowTiles

WINDOW = (2, 6, 12)


@pytest.mark.parametrize("roll", [False, True])
def test_value_and_gradients(monkeypatch, roll):
    interpreted = functools.partial(window_attention_tpu.attend, interpret=True)
    monkeypatch.setattr(window_attention_tpu, "attend", interpreted)
    # Two windows around, two levels of them, a latitude more than one has: padding, a wrap and a mask.
    grid, heads, per_head, width = TokenGrid(3, 7, 24, WINDOW), 2, 32, 16
    keys = jax.random.split(jax.random.key(0), 7)
    shapes = (
        (1, grid.tokens, width),
        (width, heads, 3, per_head),
        (heads, 3, per_head),
        (width, heads, per_head),
    )
    x, weight, shift, out = (jax.random.normal(k, s) for k, s in zip(keys, shapes, strict=False))
    bias = jax.random.normal(keys[4], (grid.kinds, heads, grid.in_window, grid.in_window))
    d_out = jax.random.normal(keys[5], (1, grid.tokens, width))
    given = jax.tree.map(lambda a: a.astype(jnp.bfloat16), (x, weight * 0.3, shift, out, bias))
    by_level = dataclasses.replace(grid, by_level=True)

    def by_kernel(x, weight, shift, out, bias):
        row = by_level.in_a_row(grid.placed(x))
        made = windows_on_tpu.attention(row, weight, shift, out, bias, by_level, roll, OneDevice())
        return grid.in_a_row(by_level.placed(made))

    def plainly(x, weight, shift, out, bias):
        made = window_attention(grid.filled(x), Linear(weight, shift), bias, grid, roll, OneDevice())
        return grid.cropped(jnp.einsum("bwzyhk,dhk->bwzyd", made, out))

    ours, pull = jax.vjp(by_kernel, *given)
    exact, exact_pull = jax.vjp(plainly, *(a.astype(jnp.float32) for a in given))
    pairs = [(ours, exact), *zip(pull(d_out.astype(jnp.bfloat16)), exact_pull(d_out), strict=True)]
    for actual, expected in pairs:
        assert actual.shape == expected.shape
        difference = jnp.abs(actual.astype(jnp.float32) - expected)
        np.testing.assert_array_less(difference, 2**-5 * jnp.max(jnp.abs(expected)))
        assert float(jnp.sqrt(jnp.mean(difference**2) / jnp.mean(expected**2))) < 2**-6


def test_what_the_kernel_takes():
    on_tpu, grid = OneDevice(platform="tpu"), TokenGrid(8, 181, 360, WINDOW)
    fine, coarse = WindowTiles(WINDOW, 6, 32), WindowTiles(WINDOW, 12, 32)
    for shape in (fine, coarse):
        assert windows_on_tpu.takes(shape, grid, on_tpu, jnp.bfloat16)
    assert not windows_on_tpu.takes(fine, grid, OneDevice(), jnp.bfloat16)
    assert not windows_on_tpu.takes(fine, grid, on_tpu, jnp.float32)
    assert not windows_on_tpu.takes(fine, dataclasses.replace(grid, periodic=False), on_tpu, jnp.bfloat16)
    split = dataclasses.replace(on_tpu, whole_examples=False)
    assert not windows_on_tpu.takes(fine, grid, split, jnp.bfloat16)
    assert not WindowTiles((2, 4, 8), 4, 8).fit()
