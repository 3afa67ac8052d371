"""Operations that make views: planned addresses, and memref's casts and subviews."""

from collections.abc import Sequence
from itertools import combinations
from typing import SupportsInt

from jaxlib.mlir import ir

from tpu_npu_backends.ascend.simulator import parsing
from tpu_npu_backends.ascend.simulator.building import FunctionBuilder, Operation, Step
from tpu_npu_backends.ascend.simulator.faults import Fault
from tpu_npu_backends.ascend.simulator.memory import View, collapse, expand, row_major, tag


def _filled(static: Sequence[int | None], dynamic: Sequence[SupportsInt]) -> tuple[int, ...]:
    """Static numbers with the operands' in the places of the dynamic ones."""
    remaining = iter(dynamic)
    return tuple(
        int(next(remaining)) if number is None or number == parsing.DYNAMIC else number for number in static
    )


def _pointer_cast(op: ir.Operation, function: FunctionBuilder) -> Step:
    """A buffer at the address that the compiler's planner gave it, in bytes.

    Of several addresses (a buffer that is doubled) each execution takes the next.
    """
    where, type_ = function.where(op), parsing.memref_of(op.results[0].type)
    result = function.number(op.results[0])
    (addresses_begin, addresses_end), *rest = parsing.segments(op) or ((0, len(op.operands)),)
    addresses = function.numbers(op.operands)[addresses_begin:addresses_end]
    sizes = function.numbers(op.operands)[rest[0][0] : rest[0][1]] if rest else ()
    owners = [tag(function.allocation()) for _ in addresses]
    if len(addresses) > 1:
        raise Fault("unsupported", "a buffer of several addresses", where)

    def step(core) -> None:
        registers = core.registers
        shape = _filled(type_.shape, [registers[n] for n in sizes])
        elements = 1
        for length in shape:
            elements *= length
        address = int(registers[addresses[0]])
        memory = core.memory(type_.space, where)
        limits = (address, address + -(-elements * type_.bits // 8))
        if address < 0 or limits[1] > memory.data.size:
            raise Fault(
                "out of bounds",
                f"a buffer at bytes {address} to {limits[1]} of {memory.name}, which has {memory.data.size}",
                where,
            )
        start = address * 8 if type_.packed else address
        registers[result] = View(
            memory, start, shape, row_major(shape), type_.dtype, limits, owners[0], type_.packed, where
        )

    return step


def _view(op: ir.Operation, function: FunctionBuilder) -> Step:
    """memref.view: elements of a type at a shift in bytes into a buffer of bytes."""
    where, type_ = function.where(op), parsing.memref_of(op.results[0].type)
    source, shift, *sizes = function.numbers(op.operands)
    result = function.number(op.results[0])

    def step(core) -> None:
        registers = core.registers
        buffer = registers[source]
        shape = _filled(type_.shape, [registers[n] for n in sizes])
        start = buffer.start + int(registers[shift])
        registers[result] = buffer.with_layout(
            start * 8 if type_.packed else start, shape, row_major(shape), where, type_.dtype, type_.packed
        )

    return step


def _subview(op: ir.Operation, function: FunctionBuilder) -> Step:
    where, type_ = function.where(op), parsing.memref_of(op.results[0].type)
    numbers = function.numbers(op.operands)
    _, offsets_at, sizes_at, strides_at = parsing.segments(op)
    statics = [parsing.integers(op, f"static_{name}") for name in ("offsets", "sizes", "strides")]
    result = function.number(op.results[0])
    dropped = _dropped_dimensions(
        parsing.memref_of(op.operands[0].type), statics[1], statics[2], type_, where
    )

    def step(core) -> None:
        registers = core.registers
        source = registers[numbers[0]]
        offsets, sizes, steps = (
            _filled(static, [registers[n] for n in numbers[begin:end]])
            for static, (begin, end) in zip(statics, (offsets_at, sizes_at, strides_at), strict=True)
        )
        shift, shape, strides = 0, [], []
        for dimension, (offset, size, step_) in enumerate(zip(offsets, sizes, steps, strict=True)):
            length, stride = source.shape[dimension], source.strides[dimension]
            end = offset + (size - 1) * step_
            if size and not 0 <= offset <= end < length:
                what = f"elements {offset} to {end} of dimension {dimension}, which has {length}"
                raise Fault("out of bounds", what, where)
            shift += offset * stride
            shape.append(size)
            strides.append(stride * step_)
        for dimension in dropped:
            del shape[dimension], strides[dimension]
        start = source.start + shift * (1 if source.packed else source.dtype.itemsize)
        registers[result] = source.with_layout(start, tuple(shape), tuple(strides), where)

    return step


def _dropped_dimensions(
    source: parsing.MemRef, sizes: Sequence[int], steps: Sequence[int], result: parsing.MemRef, where: str
) -> tuple[int, ...]:
    """Which dimensions of one element a subview of lower rank leaves out, last first."""

    def has_stride(dimension: int, stride: int | None) -> bool:
        own = source.strides[dimension]
        return own is None or stride is None or own * steps[dimension] == stride

    ones = [dimension for dimension, size in enumerate(sizes) if size == 1]
    for dropped in combinations(ones, len(sizes) - len(result.shape)):
        kept = [dimension for dimension in range(len(sizes)) if dimension not in dropped]
        if all(
            (None if sizes[d] == parsing.DYNAMIC else sizes[d]) == length and has_stride(d, stride)
            for d, length, stride in zip(kept, result.shape, result.strides, strict=True)
        ):
            return dropped[::-1]
    raise Fault("unsupported", f"a subview of sizes {list(sizes)} as {list(result.shape)}", where)


def _collapse_shape(op: ir.Operation, function: FunctionBuilder) -> Step:
    where, groups = function.where(op), parsing.reassociation(op)
    source, result = function.number(op.operands[0]), function.number(op.results[0])

    def step(core) -> None:
        view = core.registers[source]
        shape, strides = collapse(view.shape, view.strides, groups, where)
        core.registers[result] = view.with_layout(view.start, shape, strides, where)

    return step


def _expand_shape(op: ir.Operation, function: FunctionBuilder) -> Step:
    where, groups = function.where(op), parsing.reassociation(op)
    static = parsing.integers(op, "static_output_shape")
    source, *sizes = function.numbers(op.operands)
    result = function.number(op.results[0])

    def step(core) -> None:
        view = core.registers[source]
        shape = _filled(static, [core.registers[n] for n in sizes])
        strides = expand(view.strides, shape, groups) if groups else (1,) * len(shape)
        core.registers[result] = view.with_layout(view.start, shape, strides, where)

    return step


def _reinterpret_cast(op: ir.Operation, function: FunctionBuilder) -> Step:
    """memref.reinterpret_cast: a layout from the start of the buffer, whatever the operand's own is."""
    where = function.where(op)
    numbers = function.numbers(op.operands)
    _, offsets_at, sizes_at, strides_at = parsing.segments(op)
    statics = [parsing.integers(op, f"static_{name}") for name in ("offsets", "sizes", "strides")]
    result = function.number(op.results[0])

    def step(core) -> None:
        registers = core.registers
        view = registers[numbers[0]]
        (offset,), sizes, strides = (
            _filled(static, [registers[n] for n in numbers[begin:end]])
            for static, (begin, end) in zip(statics, (offsets_at, sizes_at, strides_at), strict=True)
        )
        base = view.limits[0] * 8 if view.packed else view.limits[0]
        start = base + offset * (1 if view.packed else view.dtype.itemsize)
        registers[result] = view.with_layout(start, sizes, strides, where)

    return step


def _bitcast(op: ir.Operation, function: FunctionBuilder) -> Step:
    """hivm.hir.bitcast: the same bytes as elements of another type of the same width."""
    where, type_ = function.where(op), parsing.memref_of(op.results[0].type)
    source, result = function.number(op.operands[0]), function.number(op.results[0])

    def step(core) -> None:
        view = core.registers[source]
        if view.packed or type_.dtype.itemsize != view.dtype.itemsize:
            raise Fault("unsupported", f"a bitcast from {view.dtype}", where)
        core.registers[result] = view.with_layout(view.start, view.shape, view.strides, where, type_.dtype)

    return step


def _same(op: ir.Operation, function: FunctionBuilder) -> Step:
    source, result = function.number(op.operands[0]), function.number(op.results[0])

    def step(core) -> None:
        core.registers[result] = core.registers[source]

    return step


def _dim(op: ir.Operation, function: FunctionBuilder) -> Step:
    source, dimension = function.numbers(op.operands)
    result = function.number(op.results[0])

    def step(core) -> None:
        core.registers[result] = core.registers[source].shape[core.registers[dimension]]

    return step


def _extract_strided_metadata(op: ir.Operation, function: FunctionBuilder) -> Step:
    """The start of the buffer, and the view's offset from it, sizes and strides, in elements."""
    where, source = function.where(op), function.number(op.operands[0])
    base, *numbers = function.numbers(op.results)

    def step(core) -> None:
        view = core.registers[source]
        width = 1 if view.packed else view.dtype.itemsize
        start = view.limits[0] * 8 if view.packed else view.limits[0]
        core.registers[base] = view.with_layout(start, (), (), where)
        values = ((view.start - start) // width, *view.shape, *view.strides)
        for number, value in zip(numbers, values, strict=True):
            core.registers[number] = value

    return step


OPERATIONS = {
    "hivm.hir.pointer_cast": Operation(_pointer_cast, pure=True),
    "hivm.hir.bitcast": Operation(_bitcast, pure=True),
    "memref.view": Operation(_view, pure=True),
    "memref.subview": Operation(_subview, pure=True),
    "memref.collapse_shape": Operation(_collapse_shape, pure=True),
    "memref.expand_shape": Operation(_expand_shape, pure=True),
    "memref.reinterpret_cast": Operation(_reinterpret_cast, pure=True),
    "memref.cast": Operation(_same, pure=True),
    "memref.memory_space_cast": Operation(_same, pure=True),
    "memref.dim": Operation(_dim, pure=True),
    "memref.extract_strided_metadata": Operation(_extract_strided_metadata, pure=True),
}
