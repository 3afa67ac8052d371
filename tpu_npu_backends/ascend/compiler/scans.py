"""Running sums and windows: a cumulative sum is a product with a triangular matrix."""

import math

import numpy as np
from jaxlib.mlir import ir
from jaxlib.mlir.dialects import stablehlo

from tpu_npu_backends.ascend.compiler.dots import (
    convert,
    element_of,
    matmul,
    reshape,
    shape_of,
    sum_over,
    transpose,
)
from tpu_npu_backends.ascend.compiler.indexing import compare, constant, is_float, splat, spread, walk_block


def _integers(op: ir.Operation, name: str, default: list[int]) -> list[int]:
    return list(ir.DenseI64ArrayAttr(op.attributes[name])) if name in op.attributes else default


def _reduce_window(op: ir.Operation) -> list[ir.Value] | None:
    """Sums over windows along one dimension: a banded 0-1 matrix says which elements each sum takes."""
    if len(op.results) != 1 or [inner.name for inner in walk_block(op)] != ["stablehlo.add"]:
        return None
    operand, shape = op.operands[0], shape_of(op.operands[0])
    ones = [1] * len(shape)
    window = _integers(op, "window_dimensions", ones)
    steps, dilation = _integers(op, "window_strides", ones), _integers(op, "window_dilations", ones)
    padding = np.zeros([len(shape), 2], np.int64)
    if "padding" in op.attributes:
        padding = np.array(ir.DenseIntElementsAttr(op.attributes["padding"])).reshape(len(shape), 2)
    along = [d for d, size in enumerate(window) if size > 1]
    if len(along) != 1 or _integers(op, "base_dilations", ones) != ones:
        return None
    (dim,) = along
    if any(steps[d] != 1 or padding[d].any() for d in range(len(shape)) if d != dim):
        return None
    outputs = ir.RankedTensorType(op.results[0].type).shape[dim]
    first = np.arange(outputs) * steps[dim] - padding[dim, 0]
    taken = first[:, None] + np.arange(window[dim]) * dilation[dim]
    band_OxN = np.zeros([outputs, shape[dim]], bool)
    row, column = np.nonzero((taken >= 0) & (taken < shape[dim]))
    band_OxN[row, taken[row, column]] = True
    return [_banded_sum(op, operand, dim, band_OxN)]


def _banded_sum(op: ir.Operation, operand: ir.Value, dim: int, band_OxN: np.ndarray) -> ir.Value:
    shape, element = shape_of(operand), element_of(operand)
    outputs, n = band_OxN.shape
    order = [d for d in range(len(shape)) if d != dim] + [dim]
    rows = math.prod(shape) // n
    x_RxN = reshape(transpose(operand, order), [rows, n])
    number = ir.IntegerType.get_signless(32)
    band = constant(band_OxN, number)
    if is_float(element):
        band = reshape(convert(band, element), [1, outputs, n])
        y_RxO = matmul(op, reshape(x_RxN, [1, rows, n]), band, transpose_b=True, added=True)
    else:
        whole = [rows, outputs, n]
        values = spread(x_RxN, whole, [0, 2])
        zero = splat(ir.RankedTensorType(values.type), 0)
        inside = compare(band, splat(ir.RankedTensorType(band.type), 0), "GT")
        y_RxO = sum_over(stablehlo.select(spread(inside, whole, [1, 2]), values, zero), [2])
    y = reshape(convert(y_RxO, element), [*(shape[d] for d in order[:-1]), outputs])
    return transpose(y, [int(d) for d in np.argsort(order)])


REWRITES = {"stablehlo.reduce_window": _reduce_window}
