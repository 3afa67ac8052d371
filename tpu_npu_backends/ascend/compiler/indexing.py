"""Lookups by data: gather, scatter and dynamic slices as comparisons, products and selections.

A table is read by a one-hot matrix product on the cube, exactly: each sum has one term that is not zero. (A
row that holds an infinity or NaN reaches every row read from the same table, as 0 x inf is NaN.) Integers and
booleans are selected and summed by the vector unit. Rows are scattered by the transposed product. Slices at
the counter of a loop need none of this: the host works out their address (kinds "slice_at" and "update_at").
"""

import math
from collections.abc import Sequence

import numpy as np
from jaxlib.mlir import ir
from jaxlib.mlir.dialects import stablehlo

from tpu_npu_backends.ascend.compiler.control_flow import constant_of, known_to_host
from tpu_npu_backends.ascend.compiler.dots import (
    convert,
    element_of,
    matmul,
    reshape,
    shape_of,
    sum_over,
    transpose,
)
from tpu_npu_backends.ascend.compiler.rewriting import call_of_kind

_LARGEST_SELECTION = 1 << 24  # elements of a table of integers times the rows read from it


def constant(values: np.ndarray, element: ir.Type) -> ir.Value:
    """A constant tensor of an integer type."""
    kind = np.dtype(f"int{ir.IntegerType(element).width}")
    values = np.ascontiguousarray(values).astype(kind)
    attribute = ir.DenseElementsAttr.get(values.data, type=element, shape=list(values.shape))
    return stablehlo.constant(attribute)


def splat(like: ir.RankedTensorType, number: int | float | bool) -> ir.Value:
    """A tensor of one number."""
    element = like.element_type
    make = ir.IntegerAttr if isinstance(element, ir.IntegerType) else ir.FloatAttr
    return stablehlo.constant(ir.DenseElementsAttr.get_splat(like, make.get(element, number)))


def spread(value: ir.Value, shape: Sequence[int], dimensions: Sequence[int]) -> ir.Value:
    """broadcast_in_dim: dimension i of a value becomes dimension `dimensions[i]`."""
    to = ir.RankedTensorType.get(list(shape), element_of(value))
    return stablehlo.broadcast_in_dim(to, value, list(dimensions))


def compare(a: ir.Value, b: ir.Value, direction: str) -> ir.Value:
    """A comparison of signed integers."""
    return stablehlo.compare(
        a,
        b,
        stablehlo.ComparisonDirectionAttr.get(direction),
        compare_type=stablehlo.ComparisonTypeAttr.get("SIGNED"),
    )


def is_float(element: ir.Type) -> bool:
    """Whether the cube reads a type as numbers with a point."""
    return str(element) in ("f32", "bf16", "f16")


def hot(index_N: ir.Value, size: int) -> ir.Value:
    """True where column v is a row's index, i1 [N, size]; rows with an index outside are all false."""
    index_N = signed(index_N)
    (rows,) = shape_of(index_N)
    positions = constant(np.arange(size), element_of(index_N))
    return compare(spread(index_N, [rows, size], [0]), spread(positions, [rows, size], [1]), "EQ")


def signed(index: ir.Value) -> ir.Value:
    """Indices as int32: JAX's tables have fewer rows."""
    return convert(index, ir.IntegerType.get_signless(32))


def clamp(index: ir.Value, largest: int) -> ir.Value:
    """Indices moved into [0, largest], as HLO reads."""
    to = ir.RankedTensorType(index.type)
    return stablehlo.minimum(stablehlo.maximum(index, splat(to, 0)), splat(to, largest))


def rows_of(near: ir.Operation, table_VxR: ir.Value, hot_NxV: ir.Value) -> ir.Value | None:
    """The rows that are hot, [N, R]; None where a table of integers is too large to select from."""
    element = element_of(table_VxR)
    (n, v), (_, r) = shape_of(hot_NxV), shape_of(table_VxR)
    if is_float(element):
        factor = convert(hot_NxV, element)
        rows = matmul(near, reshape(factor, [1, n, v]), reshape(table_VxR, [1, v, r]), added=True)
        return convert(reshape(rows, [n, r]), element)
    if n * v * r > _LARGEST_SELECTION or not isinstance(element, ir.IntegerType):
        return None
    whole, number = [n, r, v], ir.IntegerType.get_signless(32)
    table = spread(convert(table_VxR, number), whole, [2, 1])
    chosen = stablehlo.select(
        spread(hot_NxV, whole, [0, 2]), table, splat(ir.RankedTensorType(table.type), 0)
    )
    return convert(sum_over(chosen, [2]), element)


def _indices(indices: ir.Value, vector: int) -> tuple[list[int], list[ir.Value]]:
    """The batch shape of an index tensor, and each component of its index vectors, flattened, int32 [N]."""
    shape = shape_of(indices)
    if vector == len(shape):
        indices, shape = reshape(indices, [*shape, 1]), [*shape, 1]
    others = [d for d in range(len(shape)) if d != vector]
    batch = [shape[d] for d in others]
    flat = reshape(transpose(signed(indices), [*others, vector]), [math.prod(batch), shape[vector]])
    parts = []
    for component in range(shape[vector]):
        start, limit = [0, component], [math.prod(batch), component + 1]
        part = stablehlo.slice(flat, start, limit, [1, 1])
        parts.append(reshape(part, [math.prod(batch)]))
    return batch, parts


def _joined(parts: list[ir.Value], sizes: list[int], *, clamped: bool) -> ir.Value:
    """One index into the flattened dimensions; without clamping, -1 where any component is outside."""
    joined: ir.Value | None = None
    outside: ir.Value | None = None
    for part, size in zip(parts, sizes, strict=True):
        to = ir.RankedTensorType(part.type)
        if clamped:
            part = clamp(part, size - 1)
        elif len(parts) > 1:
            bad = stablehlo.or_(compare(part, splat(to, 0), "LT"), compare(part, splat(to, size - 1), "GT"))
            outside = bad if outside is None else stablehlo.or_(outside, bad)
        joined = part if joined is None else stablehlo.add(stablehlo.multiply(joined, splat(to, size)), part)
    if joined is None:
        raise AssertionError("an index without components")
    if outside is not None:
        joined = stablehlo.select(outside, splat(ir.RankedTensorType(joined.type), -1), joined)
    return joined


def _gather(op: ir.Operation) -> list[ir.Value] | None:
    operand, indices = op.operands
    numbers = stablehlo.GatherDimensionNumbers(op.attributes["dimension_numbers"])
    sizes = list(ir.DenseI64ArrayAttr(op.attributes["slice_sizes"]))
    shape, indexed = shape_of(operand), list(numbers.start_index_map)
    result = ir.RankedTensorType(op.results[0].type)
    if list(numbers.operand_batching_dims):
        return _gather_along(operand, indices, numbers, result)
    others = [d for d in range(len(shape)) if d not in indexed]
    if any(sizes[d] != shape[d] for d in others):
        return None
    batch, parts = _indices(indices, numbers.index_vector_dim)
    if any(sizes[d] != 1 for d in indexed):
        if math.prod(batch) != 1:
            return None
        starts: list[ir.Value] = [constant(np.zeros([]), ir.IntegerType.get_signless(32)) for _ in shape]
        for dim, part in zip(indexed, parts, strict=True):
            starts[dim] = reshape(part, [])
        rows = _slice_by_data(op, operand, starts, sizes)
        return None if rows is None else [reshape(rows, list(result.shape))]
    table = transpose(operand, indexed + others)
    v, r = math.prod(shape[d] for d in indexed), math.prod(shape[d] for d in others)
    index = _joined(parts, [shape[d] for d in indexed], clamped=True)
    rows = rows_of(op, reshape(table, [v, r]), hot(index, v))
    if rows is None:
        return None
    # Dimensions of the result: batch ones where no offset is; dimensions of slices of one may be kept.
    offsets = list(numbers.offset_dims)
    batch_places = [d for d in range(result.rank) if d not in offsets]
    kept = [d for d in range(len(shape)) if d not in list(numbers.collapsed_slice_dims)]
    rows = reshape(rows, batch + [sizes[d] for d in kept if d in others])
    rows = reshape(rows, batch + [sizes[d] for d in kept])
    order = np.argsort(batch_places + offsets)
    return [transpose(rows, [int(d) for d in order])]


def _gather_along(operand, indices, numbers, result) -> list[ir.Value] | None:
    """take_along_axis: one dimension is indexed, all others are batch dimensions."""
    shape, indexed = shape_of(operand), list(numbers.start_index_map)
    batching = list(numbers.operand_batching_dims)
    if (
        len(indexed) != 1
        or sorted(batching + indexed) != list(range(len(shape)))
        or list(numbers.offset_dims)
    ):
        return None
    vector = numbers.index_vector_dim
    index_shape = shape_of(indices)
    if vector != len(index_shape):
        if index_shape[vector] != 1:
            return None
        del index_shape[vector]
    index = clamp(signed(reshape(indices, index_shape)), shape[indexed[0]] - 1)
    places = [d - (d > vector) for d in numbers.start_indices_batching_dims]
    whole = [*index_shape, shape[indexed[0]]]
    last = len(index_shape)
    dimensions = [0] * len(shape)
    dimensions[indexed[0]] = last
    for dim, place in zip(batching, places, strict=True):
        dimensions[dim] = place
    positions = spread(constant(np.arange(whole[-1]), element_of(index)), whole, [last])
    hot_here = compare(spread(index, whole, range(last)), positions, "EQ")
    values = spread(operand, whole, dimensions)
    element = element_of(values)
    if str(element) == "i1":
        values = convert(values, ir.IntegerType.get_signless(32))
    chosen = stablehlo.select(hot_here, values, splat(ir.RankedTensorType(values.type), 0))
    return [reshape(convert(sum_over(chosen, [last]), element), list(result.shape))]


def _scatter(op: ir.Operation) -> list[ir.Value] | None:
    if len(op.results) != 1:
        return None
    operand, indices, updates = op.operands
    numbers = stablehlo.ScatterDimensionNumbers(op.attributes["scatter_dimension_numbers"])
    shape, indexed = shape_of(operand), list(numbers.scattered_dims_to_operand_dims)
    others = [d for d in range(len(shape)) if d not in indexed]
    if list(numbers.input_batching_dims) or sorted(numbers.inserted_window_dims) != sorted(indexed):
        return None
    windows = list(numbers.update_window_dims)
    update_shape = shape_of(updates)
    if [update_shape[d] for d in windows] != [shape[d] for d in others]:
        return None
    element = element_of(operand)
    batch, parts = _indices(indices, numbers.index_vector_dim)
    n, v, r = math.prod(batch), math.prod(shape[d] for d in indexed), math.prod(shape[d] for d in others)
    combine = [inner.name for inner in walk_block(op)]
    adds, sets = combine == ["stablehlo.add"], not combine
    if not is_float(element) or not (adds or (sets and (n == 1 or _is_true(op, "unique_indices")))):
        return None
    index = _joined(parts, [shape[d] for d in indexed], clamped=False)
    hot_NxV = hot(index, v)
    ordered = transpose(updates, [d for d in range(len(update_shape)) if d not in windows] + windows)
    factor = convert(hot_NxV, element)
    added = matmul(op, reshape(factor, [1, n, v]), reshape(ordered, [1, n, r]), transpose_a=True, added=True)
    back = [int(d) for d in np.argsort(indexed + others)]
    full = [shape[d] for d in indexed + others]
    total = transpose(reshape(convert(added, element), full), back)
    if adds:
        return [stablehlo.add(operand, total)]
    touched = convert(sum_over(convert(hot_NxV, ir.F32Type.get()), [0]), ir.F32Type.get())
    mask = stablehlo.compare(
        touched, splat(ir.RankedTensorType(touched.type), 0.0), stablehlo.ComparisonDirectionAttr.get("GT")
    )
    mask = transpose(reshape(spread(mask, [v, r], [0]), full), back)
    return [stablehlo.select(mask, total, operand)]


def walk_block(op: ir.Operation) -> list[ir.Operation]:
    """The ops of an op's region, without the terminator."""
    return [inner.operation for inner in op.regions[0].blocks[0].operations][:-1]


def _is_true(op: ir.Operation, name: str) -> bool:
    return name in op.attributes and str(op.attributes[name]) == "true"


def _dynamic_slice(op: ir.Operation) -> list[ir.Value] | None:
    operand, *starts = op.operands
    sizes = list(ir.DenseI64ArrayAttr(op.attributes["slice_sizes"]))
    if all(known_to_host(start) for start in starts):
        return _slice_at(op, operand, starts, sizes)
    rows = _slice_by_data(op, operand, starts, sizes)
    return None if rows is None else [rows]


def _slice_at(op, operand, starts, sizes) -> list[ir.Value]:
    shape, known = shape_of(operand), [constant_of(start) for start in starts]
    fixed = [at for at in known if at is not None]
    if len(fixed) == len(known):
        fixed = [min(max(at, 0), n - size) for at, n, size in zip(fixed, shape, sizes, strict=True)]
        limits = [at + size for at, size in zip(fixed, sizes, strict=True)]
        return [stablehlo.slice(operand, fixed, limits, [1] * len(sizes))]
    return call_of_kind(op, "slice_at", [operand, *starts], [op.results[0].type], {"sizes": sizes})


def _slice_by_data(op, operand, starts, sizes) -> ir.Value | None:
    """One dimension after the other: a range of rows is a lookup of consecutive indices."""
    for dim, (start, size) in enumerate(zip(starts, sizes, strict=True)):
        shape = shape_of(operand)
        if size == shape[dim]:
            continue
        first = clamp(signed(start), shape[dim] - size)
        positions = constant(np.arange(size), element_of(first))
        index = stablehlo.add(spread(first, [size], []), positions)
        order = [dim] + [d for d in range(len(shape)) if d != dim]
        table = reshape(
            transpose(operand, order), [shape[dim], -1 if not shape else math.prod(shape) // shape[dim]]
        )
        rows = rows_of(op, table, hot(index, shape[dim]))
        if rows is None:
            return None
        rows = reshape(rows, [size, *(shape[d] for d in order[1:])])
        operand = transpose(rows, [int(d) for d in np.argsort(order)])
    return operand


def _dynamic_update_slice(op: ir.Operation) -> list[ir.Value] | None:
    operand, update, *starts = op.operands
    shape, sizes = shape_of(operand), shape_of(update)
    if shape == sizes:
        return [update]
    if all(known_to_host(start) for start in starts):
        return call_of_kind(op, "update_at", [operand, update, *starts], [operand.type])
    mask = None
    for dim, (start, size) in enumerate(zip(starts, sizes, strict=True)):
        if size == shape[dim]:
            continue
        first = clamp(signed(start), shape[dim] - size)
        here = list(shape_of(update))
        index = stablehlo.add(spread(first, [size], []), constant(np.arange(size), element_of(first)))
        hot_SxN = hot(index, shape[dim])
        if size == 1:
            here[dim] = shape[dim]
            update = spread(update, here, range(len(here)))
        else:
            order = [dim] + [d for d in range(len(here)) if d != dim]
            table = reshape(transpose(update, order), [size, math.prod(here) // size])
            rows = rows_of(op, table, transpose(hot_SxN, [1, 0]))
            if rows is None:
                return None
            rows = reshape(rows, [shape[dim], *(here[d] for d in order[1:])])
            update = transpose(rows, [int(d) for d in np.argsort(order)])
        number = convert(hot_SxN, ir.IntegerType.get_signless(32))
        inside = sum_over(number, [0])
        inside = compare(inside, splat(ir.RankedTensorType(inside.type), 0), "GT")
        inside = spread(inside, shape, [dim])
        mask = inside if mask is None else stablehlo.and_(mask, inside)
    if mask is None:
        raise AssertionError("an update of the whole is none of a part")
    return [stablehlo.select(mask, update, operand)]


def _reverse(op: ir.Operation) -> list[ir.Value] | None:
    """A product with the exchange matrix, or a selection, along each dimension."""
    (operand,) = op.operands
    for dim in ir.DenseI64ArrayAttr(op.attributes["dimensions"]):
        shape = shape_of(operand)
        if shape[dim] == 1:
            continue
        order = [dim] + [d for d in range(len(shape)) if d != dim]
        table = reshape(transpose(operand, order), [shape[dim], math.prod(shape) // shape[dim]])
        index = constant(np.arange(shape[dim])[::-1], ir.IntegerType.get_signless(32))
        rows = rows_of(op, table, hot(index, shape[dim]))
        if rows is None:
            return None
        rows = reshape(rows, [shape[d] for d in order])
        operand = transpose(rows, [int(d) for d in np.argsort(order)])
    return [operand]


REWRITES = {
    "stablehlo.gather": _gather,
    "stablehlo.scatter": _scatter,
    "stablehlo.dynamic_slice": _dynamic_slice,
    "stablehlo.dynamic_update_slice": _dynamic_update_slice,
    "stablehlo.reverse": _reverse,
}
