"""Attention in windows by the CPU's kernel against its plain form: values and all gradients."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pangu_jax.models import native_windows
from pangu_jax.models.native_blocks import Linear
from pangu_jax.models.placement import OneDevice
from pangu_jax.workloads.science.model.earth_bias import FAR
from pangu_jax.workloads.science.model.token_grid import TokenGrid
from pangu_jax.workloads.science.model.window_attention import window_attention
from tests.backends.comparing import close, drawn

pytestmark = pytest.mark.usefixtures("cpu_kernels")
BATCH, HEADS = 2, 2


def plainly(qkv, bias, grid, roll):
    """softmax(q k^T / sqrt(K) + bias) v, window by window."""
    shape = qkv.shape
    x = grid.windows(qkv.reshape(*shape[:4], -1), roll)
    q, k, v = jnp.moveaxis(x.reshape(*x.shape[:-1], *shape[4:]), -2, 0)
    scores = jnp.einsum("bpgmhk,bpgnhk->bpghmn", k, q) / np.sqrt(shape[-1]) + bias
    y = jnp.einsum("bpghmn,bpgmhk->bpgnhk", jax.nn.softmax(scores, -2), v)
    y = grid.joined(y.reshape(*y.shape[:-2], -1), roll)
    return y.reshape(*y.shape[:-1], HEADS, shape[-1])


# Levels, latitudes and longitudes of tokens; a head's width; whether longitudes go around. Windows whose
# tokens fill no tile of eight are among them.
@pytest.mark.parametrize(
    ("sides", "window", "width", "roll", "periodic"),
    [
        ((4, 4, 8), (2, 2, 4), 16, False, True),
        ((4, 4, 8), (2, 2, 4), 16, True, True),
        ((2, 6, 12), (2, 6, 6), 8, True, False),
        ((2, 4, 6), (2, 2, 2), 24, True, False),
    ],
)
def test_windows(sides, window, width, roll, periodic):
    grid = TokenGrid(*sides, window, periodic)
    levels, latitudes, longitudes = sides
    qkv = drawn(0, BATCH, longitudes, levels, latitudes, HEADS, 3, width)
    bias = drawn(1, 1, grid.kinds, HEADS, grid.in_window, grid.in_window)
    if (seen := grid.seen(roll)) is not None:
        bias = jnp.where(seen[:, :, None], bias, FAR)
        assert not seen.all() and len(seen) == (1 if periodic else longitudes // window[2])
    out = drawn(2, *qkv.shape[:5], width)

    def value_and_gradients(attend):
        def loss(qkv, bias):
            y = attend(qkv, bias)
            return jnp.sum(y * out), y

        (_, y), (d_qkv, d_bias) = jax.jit(jax.value_and_grad(loss, (0, 1), has_aux=True))(qkv, bias)
        return y, d_qkv, d_bias

    actual = value_and_gradients(lambda qkv, bias: native_windows.attend(qkv, bias, window, roll))
    expected = value_and_gradients(partial(plainly, grid=grid, roll=roll))
    for got, want in zip(actual, expected, strict=True):
        close(got, want, 3e-6)


def test_one_bias_for_all_windows_adds_its_gradients():
    grid = TokenGrid(4, 4, 8, (2, 2, 4))
    qkv, bias = drawn(0, BATCH, 8, 4, 4, HEADS, 3, 8), drawn(1, 1, 1, HEADS, 16, 16)
    slope = lambda attend: jax.jit(jax.grad(lambda bias: jnp.sum(jnp.sin(attend(bias)))))(bias)  # noqa: E731
    actual = slope(lambda bias: native_windows.attend(qkv, bias, grid.window, False))
    close(actual, slope(lambda bias: plainly(qkv, bias, grid, False)), 3e-6)


@pytest.mark.parametrize(("width", "taken"), [(8, True), (4, False)])
def test_the_model_takes_the_kernel_where_heads_fit(monkeypatch, width, taken):
    called = []
    kernel = native_windows.attend
    monkeypatch.setattr(native_windows, "attend", lambda *given: called.append(1) or kernel(*given))
    grid, x = TokenGrid(2, 4, 8, (2, 2, 4)), drawn(0, BATCH, 8, 2, 4, 12)
    qkv = Linear(drawn(1, 12, HEADS, 3, width), drawn(2, HEADS, 3, width))
    bias = drawn(3, grid.kinds, HEADS, 16, 16)

    def made(native):
        return jax.jit(lambda x: window_attention(x, qkv, bias, grid, True, OneDevice(native)))(x)

    actual = made(True)
    assert bool(called) == taken
    close(actual, made(False), 3e-6)
