"""Int8 products and fused chains: their numbers, and what the Ascend compiler makes of them."""

from importlib.util import find_spec

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tpu_npu_backends.ascend import compiler, operators, simulator
from tpu_npu_backends.errors import BackendError

compiles = pytest.mark.skipif(find_spec("ascendnpuir") is None, reason="ascendnpu-ir is not installed")

DRAW = np.random.default_rng(0)
X_40x96 = DRAW.standard_normal((40, 96)).astype(np.float32)
W_96x64 = (DRAW.standard_normal((96, 64)) / 96**0.5).astype(np.float32)
BIAS_64 = DRAW.standard_normal(64).astype(np.float32)
GAIN_96 = DRAW.random(96).astype(np.float32)


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    """Compiles a function and runs it in the simulator: results, what it moved, the report."""
    folder = tmp_path_factory.mktemp("kernels")

    def run(function, *arguments):
        program = compiler.compile_program(jax.jit(function).lower(*arguments).as_text(), cache_dir=folder)
        with simulator.counting() as traffic:
            results = program.run([np.asarray(argument) for argument in arguments])
        return results, traffic, program.report

    return run


def test_quantising_is_within_half_a_scale():
    values, scales = operators.quantise_rows(X_40x96)
    assert values.dtype == jnp.int8 and scales.shape == (40, 1)
    assert (abs(np.asarray(values, np.float64) * scales - X_40x96) <= 0.5001 * np.asarray(scales)).all()
    assert (abs(np.asarray(values)).max(-1) == 127).all()  # the whole range is used
    values, scales = operators.quantise_columns(W_96x64)
    assert scales.shape == (64,)
    assert (abs(np.asarray(values, np.float64) * scales - W_96x64) <= 0.5001 * np.asarray(scales)).all()


def test_rows_of_zeros_stay_zeros():
    values, scales = operators.quantise_rows(jnp.zeros((2, 8)))
    assert not values.any() and (scales > 0).all() and np.isfinite(scales).all()


def test_int8_sums_are_exact():
    a = DRAW.integers(-127, 128, (7, 5000)).astype(np.int8)
    b = DRAW.integers(-127, 128, (5000, 3)).astype(np.int8)
    np.testing.assert_array_equal(operators.int8_product(a, b), a.astype(np.int64) @ b.astype(np.int64))


def test_int8_matmul_is_near_the_product_in_float32():
    y = operators.int8_matmul(X_40x96, *operators.quantise_columns(W_96x64), BIAS_64, "silu")
    full = jax.nn.silu(X_40x96.astype(np.float64) @ W_96x64 + BIAS_64)
    assert y.dtype == jnp.float32
    assert np.linalg.norm(y - full) < 0.01 * np.linalg.norm(full)
    half = operators.int8_matmul(jnp.bfloat16(X_40x96), *operators.quantise_columns(W_96x64))
    assert half.dtype == jnp.bfloat16


def test_mistakes_are_one_line():
    with pytest.raises(BackendError, match="an int8 product of float32 and int8: quantise both first"):
        operators.int8_product(X_40x96, np.zeros((96, 4), np.int8))
    with pytest.raises(BackendError, match="no activation 'swish': it is one of gelu, silu, relu"):
        operators.bias_activation(X_40x96, GAIN_96, "swish")


@compiles
def test_the_int8_product_is_exact_through_l1_and_l0c(compiled):
    a = DRAW.integers(-127, 128, (40, 96)).astype(np.int8)
    b = DRAW.integers(-127, 128, (96, 64)).astype(np.int8)
    (sums,), traffic, report = compiled(operators.int8_product, a, b)
    np.testing.assert_array_equal(sums, a.astype(np.int64) @ b.astype(np.int64))
    assert not report["host_ops"] and traffic.launches == 1


@compiles
def test_int8_matmul_leaves_nothing_to_the_host(compiled):
    w, scales = map(np.asarray, operators.quantise_columns(W_96x64))

    def function(x, w, scales, bias):
        return operators.int8_matmul(x, w, scales, bias, "gelu")

    (y,), traffic, report = compiled(function, X_40x96, w, scales, BIAS_64)
    np.testing.assert_allclose(y, function(X_40x96, w, scales, BIAS_64), atol=3e-6)
    assert not report["host_ops"] and traffic.launches <= 5


@compiles
@pytest.mark.parametrize(
    ("function", "arguments"),
    [
        (lambda x, b: operators.bias_activation(x, b, "gelu"), (X_40x96, GAIN_96)),
        (lambda x, b: operators.bias_activation(x, b, "silu"), (X_40x96, GAIN_96)),
        (operators.rms_norm, (X_40x96, GAIN_96)),
        (operators.rms_norm_residual, (X_40x96, X_40x96[::-1].copy(), GAIN_96)),
        (
            lambda *a: operators.dequantise(*a, activation="silu"),
            (np.int32(1000 * X_40x96), abs(X_40x96[:, :1]), GAIN_96, GAIN_96[::-1].copy()),
        ),
    ],
    ids=["bias + gelu", "bias + silu", "rms_norm", "residual + rms_norm", "dequantise + bias + silu"],
)
def test_a_chain_is_one_kernel(compiled, function, arguments):
    results, traffic, report = compiled(function, *arguments)
    for y, exact in zip(results, jax.tree.leaves(function(*arguments)), strict=True):
        np.testing.assert_allclose(y, exact, rtol=2e-6, atol=2e-6)
    assert not report["host_ops"] and traffic.launches == 1
    # What goes in, and what comes out: at most twice, since the tool reads tiles of a result back.
    needed = sum(array.nbytes for array in arguments) + sum(array.nbytes for array in results)
    assert needed <= traffic.loaded + traffic.stored <= 2.5 * needed
