"""Products: every dot_general becomes one batched matrix product on the cube unit.

A call of kind "matmul" multiplies [batch, M, K] by [batch, K, N] to [batch, M, N]. `transpose_a` says that
the left factor is stored [batch, K, M], `transpose_b` that the right one is stored [batch, N, K]: the kernel
reads both as they are. 16-bit factors are summed in float32, and what is to be 16-bit is rounded by a vector
kernel.
"""

import math
from collections.abc import Sequence

from jaxlib.mlir import ir
from jaxlib.mlir.dialects import stablehlo

from tpu_npu_backends.ascend.compiler.rewriting import call_of_kind


def matmul(
    near: ir.Operation, a: ir.Value, b: ir.Value, *, transpose_a=False, transpose_b=False, added=False
) -> ir.Value:
    """The product of [batch, ...] factors, in float32 (int32 for int8 factors).

    Args:
      near: an op of the module.
      a: [batch, M, K], or [batch, K, M] with `transpose_a`.
      b: [batch, K, N], or [batch, N, K] with `transpose_b`.
      transpose_a: see above.
      transpose_b: see above.
      added: it stands for an op that is no product (a lookup), so that its FLOPs are no work of the program.
    """
    (batch, *a_matrix), (_, *b_matrix) = shape_of(a), shape_of(b)
    rows, inner = a_matrix[::-1] if transpose_a else a_matrix
    columns = b_matrix[0] if transpose_b else b_matrix[1]
    integers = isinstance(element_of(a), ir.IntegerType)
    element = ir.IntegerType.get_signless(32) if integers else ir.F32Type.get()
    facts = {
        "transpose_a": int(transpose_a),
        "transpose_b": int(transpose_b),
        "flops": 2 * batch * rows * inner * columns,
        "added": int(added),
    }
    result = ir.RankedTensorType.get([batch, rows, columns], element)
    return call_of_kind(near, "matmul", [a, b], [result], facts)[0]


def shape_of(value: ir.Value) -> list[int]:
    """The static shape of a tensor."""
    return list(ir.RankedTensorType(value.type).shape)


def element_of(value: ir.Value) -> ir.Type:
    """The element type of a tensor."""
    return ir.RankedTensorType(value.type).element_type


def reshape(value: ir.Value, shape: Sequence[int]) -> ir.Value:
    """The same elements in another shape."""
    if shape_of(value) == list(shape):
        return value
    return stablehlo.reshape(ir.RankedTensorType.get(list(shape), element_of(value)), value)


def transpose(value: ir.Value, order: Sequence[int]) -> ir.Value:
    """Dimensions in another order; no op where they are in it."""
    if list(order) == sorted(order):
        return value
    return stablehlo.transpose(value, list(order))


def convert(value: ir.Value, element: ir.Type) -> ir.Value:
    """The same values in another type."""
    if element_of(value) == element:
        return value
    return stablehlo.convert(ir.RankedTensorType.get(shape_of(value), element), value)


def _rewrite_dot(op: ir.Operation) -> list[ir.Value] | None:
    lhs, rhs = op.operands
    numbers = stablehlo.DotDimensionNumbers(op.attributes["dot_dimension_numbers"])
    result = ir.RankedTensorType(op.results[0].type)
    if not _on_cube(element_of(lhs), element_of(rhs), result.element_type):
        return _as_sum(lhs, rhs, numbers, result)
    if element_of(lhs) != element_of(rhs):
        lhs, rhs = convert(lhs, ir.F32Type.get()), convert(rhs, ir.F32Type.get())
    a_batch, b_batch = list(numbers.lhs_batching_dimensions), list(numbers.rhs_batching_dimensions)
    a_inner, b_inner = list(numbers.lhs_contracting_dimensions), list(numbers.rhs_contracting_dimensions)
    # The order of summed dimensions is free: that of the larger factor, which then stays as it is stored.
    by_left = math.prod(shape_of(lhs)) >= math.prod(shape_of(rhs))
    keys = a_inner if by_left else b_inner
    order = sorted(range(len(keys)), key=keys.__getitem__)
    a_inner, b_inner = [a_inner[i] for i in order], [b_inner[i] for i in order]
    a_free = [d for d in range(len(shape_of(lhs))) if d not in a_batch + a_inner]
    b_free = [d for d in range(len(shape_of(rhs))) if d not in b_batch + b_inner]

    a, transpose_a = _matrix(lhs, a_batch, a_free, a_inner)
    b, transpose_b = _matrix(rhs, b_batch, b_inner, b_free)
    product = matmul(op, a, b, transpose_a=transpose_a, transpose_b=transpose_b)
    return [convert(reshape(product, list(result.shape)), result.element_type)]


def _on_cube(a: ir.Type, b: ir.Type, result: ir.Type) -> bool:
    floats = ("f32", "f16", "bf16")
    if str(a) in floats and str(b) in floats:
        return str(result) in floats
    return str(a) == str(b) == "i8" and str(result) == "i32"


def _matrix(value: ir.Value, batch: list[int], rows: list[int], columns: list[int]) -> tuple[ir.Value, bool]:
    """A factor as [batch, rows, columns], or as [batch, columns, rows] and True where it is stored so."""
    shape = shape_of(value)
    size = lambda dims: math.prod(shape[d] for d in dims)  # noqa: E731
    wide = lambda order: [d for d in order if shape[d] > 1]  # noqa: E731
    stored = wide(range(len(shape)))
    if wide(batch + rows + columns) == stored:
        return reshape(value, [size(batch), size(rows), size(columns)]), False
    if wide(batch + columns + rows) == stored:
        return reshape(value, [size(batch), size(columns), size(rows)]), True
    turned = transpose(value, batch + rows + columns)
    return reshape(turned, [size(batch), size(rows), size(columns)]), False


def _as_sum(lhs, rhs, numbers, result) -> list[ir.Value] | None:
    """A product of types that the cube does not multiply: products of elements, summed by the vector unit."""
    element = result.element_type
    if element_of(lhs) != element or element_of(rhs) != element or "complex" in str(element):
        return None
    a_batch, b_batch = list(numbers.lhs_batching_dimensions), list(numbers.rhs_batching_dimensions)
    a_inner, b_inner = list(numbers.lhs_contracting_dimensions), list(numbers.rhs_contracting_dimensions)
    a_free = [d for d in range(len(shape_of(lhs))) if d not in a_batch + a_inner]
    b_free = [d for d in range(len(shape_of(rhs))) if d not in b_batch + b_inner]
    batch, m, n = len(a_batch), len(a_free), len(b_free)
    k = len(a_inner)
    a_shape, b_shape = shape_of(lhs), shape_of(rhs)
    whole = [a_shape[d] for d in a_batch + a_free] + [b_shape[d] for d in b_free]
    whole += [a_shape[d] for d in a_inner]
    to = ir.RankedTensorType.get(whole, element)
    place_a, place_b = [0] * len(a_shape), [0] * len(b_shape)
    for place, dims, first in (
        (place_a, a_batch, 0),
        (place_a, a_free, batch),
        (place_a, a_inner, batch + m + n),
        (place_b, b_batch, 0),
        (place_b, b_free, batch + m),
        (place_b, b_inner, batch + m + n),
    ):
        for offset, dim in enumerate(dims):
            place[dim] = first + offset
    product = stablehlo.multiply(
        stablehlo.broadcast_in_dim(to, lhs, place_a), stablehlo.broadcast_in_dim(to, rhs, place_b)
    )
    return [sum_over(product, range(batch + m + n, batch + m + n + k))]


def sum_over(value: ir.Value, dimensions) -> ir.Value:
    """The sum over dimensions, which are dropped."""
    element, shape = element_of(value), shape_of(value)
    dimensions = list(dimensions)
    if not dimensions:
        return value
    kept = [size for d, size in enumerate(shape) if d not in dimensions]
    zero = (
        ir.FloatAttr.get(element, 0.0)
        if not isinstance(element, ir.IntegerType)
        else ir.IntegerAttr.get(element, 0)
    )
    start = stablehlo.constant(ir.DenseElementsAttr.get_splat(ir.RankedTensorType.get([], element), zero))
    reduce = stablehlo.ReduceOp(
        [ir.RankedTensorType.get(kept, element)], [value], [start], ir.DenseI64ArrayAttr.get(dimensions)
    )
    scalar = ir.RankedTensorType.get([], element)
    block = ir.Block.create_at_start(reduce.regions[0], [scalar, scalar])
    with ir.InsertionPoint(block):
        stablehlo.return_([stablehlo.add(*block.arguments)])
    return reduce.results[0]


REWRITES = {"stablehlo.dot_general": _rewrite_dot}
