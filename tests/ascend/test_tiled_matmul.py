"""Matrix products in tiles: each kernel compiled, and run through its planned L1 and L0C."""

from importlib.util import find_spec

import ml_dtypes
import numpy as np
import pytest

from tests.ascend import hivm
from tpu_npu_backends.ascend.compiler import tiled_matmul
from tpu_npu_backends.ascend.compiler.tiled_matmul import L0C_BYTES, L1_BYTES, Matmul
from tpu_npu_backends.ascend.simulator import Fault, SimulatedKernel

pytestmark = pytest.mark.skipif(find_spec("ascendnpuir") is None, reason="ascendnpu-ir is not installed")

DTYPES = {"f32": np.float32, "bf16": ml_dtypes.bfloat16, "f16": np.float16, "i8": np.int8}


def kernel_of(product: Matmul) -> str:
    return hivm.instructions(tiled_matmul.source(product), more=tiled_matmul.FLAGS)


def factors(product: Matmul) -> tuple[np.ndarray, np.ndarray]:
    """As they are stored."""
    generator, scale = np.random.default_rng(0), 40 if product.dtype == "i8" else 1
    a, b = ((product.batch, *size) for size in ((product.m, product.k), (product.k, product.n)))
    a, b = (scale * generator.standard_normal(shape) for shape in (a, b))
    a, b = (x.astype(DTYPES[product.dtype]) for x in (a, b))
    a = a.swapaxes(1, 2) if product.transpose_a else a
    return np.ascontiguousarray(a), np.ascontiguousarray(b.swapaxes(1, 2) if product.transpose_b else b)


@pytest.mark.parametrize(
    "product",
    [
        Matmul(1, 64, 32, 48, "f32"),
        Matmul(3, 33, 50, 20, "f32", transpose_b=True),  # batches; nothing is a multiple of anything
        Matmul(1, 140, 300, 270, "f32"),  # loops over tiles of all three dimensions, and remainders
        Matmul(1, 70, 33, 50, "bf16", transpose_a=True),
        Matmul(2, 130, 600, 40, "f16", transpose_a=True, transpose_b=True),
        Matmul(1, 150, 520, 300, "i8"),
        Matmul(1, 1, 7, 1, "i8", transpose_b=True),
    ],
    ids=str,
)
def test_products(product):
    kernel = SimulatedKernel.parse(kernel_of(product))
    a, b = factors(product)
    sums = np.int32 if product.dtype == "i8" else np.float32
    shape = (product.batch, product.m, product.n)
    (c,) = kernel.run([a, b], [(shape, sums)])
    a = a.swapaxes(1, 2) if product.transpose_a else a
    b = b.swapaxes(1, 2) if product.transpose_b else b
    exact = a.astype(np.float64) @ b.astype(np.float64)
    np.testing.assert_allclose(c, exact, rtol=0, atol=0 if product.dtype == "i8" else 1e-6 * abs(exact).max())
    assert kernel.usage.bytes["cbuf"] <= L1_BYTES and kernel.usage.bytes["cc"] <= L0C_BYTES


def test_tiles_fit_for_all_sizes():
    for size in (1, 15, 16, 129, 200, 257, 1000, 4097):
        for dtype, width in (("f32", 4), ("bf16", 2), ("i8", 1)):
            rows, columns, inner = tiled_matmul.tiles(Matmul(1, size, size, size, dtype))
            rows, columns, inner = (-(-length // 32) * 32 for length in (rows, columns, inner))
            assert rows * columns * 4 <= L0C_BYTES
            assert (rows + columns) * inner * width <= L1_BYTES


def test_a_flag_of_a_tile_that_is_gone_is_missed():
    product = Matmul(1, 16, 600, 300, "f32")
    text = kernel_of(product)
    a, b = factors(product)
    lines = text.split("\n")
    for number, line in enumerate(lines):
        if "wait_flag" in line or ("set_flag" in line and "PIPE_M>, static" in line):
            broken = "\n".join(lines[:number] + lines[number + 1 :])
            with pytest.raises(Fault, match=r"missing sync|unbalanced sync"):
                SimulatedKernel.parse(broken).run([a, b], [((1, 16, 300), np.float32)])
