"""The vector unit's instructions on UB, each one NumPy call or a few.

They are defined in https://gitcode.com/Ascend/AscendNPU-IR: bishengir/include/bishengir/Dialect/HIVM/IR.
16-bit floats are computed in float32 and rounded once when they are written.
"""

from collections.abc import Callable

import numpy as np
from jaxlib.mlir import ir

from tpu_npu_backends.ascend.simulator import parsing
from tpu_npu_backends.ascend.simulator.building import FunctionBuilder, Operation, Step, views
from tpu_npu_backends.ascend.simulator.faults import Fault
from tpu_npu_backends.ascend.simulator.memory import View
from tpu_npu_backends.ascend.simulator.synchronisation import NUMBER

_V = NUMBER["PIPE_V"]


def _value(operand):
    """What an operand, a view or a scalar, holds."""
    return operand.read() if type(operand) is View else operand


def _operands(op: ir.Operation, function: FunctionBuilder, inputs: int) -> tuple[tuple, tuple, tuple]:
    """Registers of inputs, outputs and scratch; `inputs` where the operation has no operandSegmentSizes."""
    numbers = function.numbers(op.operands)
    groups = parsing.segments(op) or ((0, inputs), (inputs, inputs + 1), (inputs + 1, len(numbers)))
    parts = [numbers[begin:end] for begin, end in groups]
    inputs_, outputs, scratch = (parts + [()] * 3)[:3]
    return inputs_, outputs, scratch


def _elementwise(inputs: int, compute: Callable[[ir.Operation], Callable]) -> Operation:
    """dst = f(src...), with broadcasting of dimensions of one, or a transposition on the way.

    Args:
      inputs: how many.
      compute: from the operation to a function of arrays and scalars; with `out=` when it is a NumPy ufunc.
    """

    def build(op: ir.Operation, function: FunctionBuilder) -> Step:
        where, apply = function.where(op), compute(op)
        sources, (target,), scratch = _operands(op, function, inputs)
        permutation = parsing.integers(op, "transpose")
        in_place = isinstance(apply, np.ufunc)

        def step(core) -> None:
            registers = core.registers
            operands = [registers[n] for n in sources]
            out = registers[target]
            core.issue(_V, views(operands), (out,), where, views([registers[n] for n in scratch]))
            values = [_value(operand) for operand in operands]
            if permutation:
                values = [
                    v.transpose(permutation) if isinstance(v, np.ndarray) and v.ndim else v for v in values
                ]
            if in_place and not out.packed and values[0].dtype == out.dtype:
                apply(*values, out=out.array, casting="unsafe")
            else:
                out.write(apply(*values))

        return step

    return Operation(build)


def _always(compute: Callable) -> Callable[[ir.Operation], Callable]:
    return lambda op: compute


# The table of elementwise operations.


def _divide(a, b):
    if a.dtype.kind == "f":
        return np.divide(a, b)
    quotient = np.floor_divide(a, b)  # rounds down where the device rounds to zero
    return quotient + ((quotient < 0) & (quotient * b != a)).astype(a.dtype)


_COMPARISONS = {
    "eq": np.equal, "ne": np.not_equal,
    "lt": np.less, "gt": np.greater, "le": np.less_equal, "ge": np.greater_equal,
}  # fmt: skip


def _comparison(op: ir.Operation) -> Callable:
    compare = _COMPARISONS[parsing.text_of(op, "compare_mode", "eq")]
    return lambda a, b: compare(a, b)  # no ufunc: the result's dtype is another


def _invert(a):
    return np.invert(a) if a.dtype != np.float32 else np.invert(a.view(np.int32)).view(np.float32)


_ROUNDINGS = {
    "rint": np.rint,
    "floor": np.floor,
    "ceil": np.ceil,
    "trunc": np.trunc,
    "truncwithoverflow": np.trunc,
    "round": lambda a: np.copysign(np.floor(np.abs(a) + 0.5), a),
}


def _cast(op: ir.Operation) -> Callable:
    """vcast: to integers by the rounding mode, saturated unless the mode says that they overflow.

    From a float to the same float it rounds to whole numbers.
    """
    mode = parsing.text_of(op, "round_mode", "rint")
    unsigned = parsing.text_of(op, "cast", "cast_signed") == "cast_unsigned"
    types = [parsing.memref_of(operand.type) for operand in op.operands]
    source, target = types[0].dtype, types[parsing.segments(op)[1][0]].dtype
    if mode not in _ROUNDINGS:
        raise Fault("unsupported", f"rounding mode {mode}", op.name)
    rounding = _ROUNDINGS[mode]
    if source.kind in "iub":
        if unsigned and source.kind == "i":
            as_unsigned = np.dtype(f"u{source.itemsize}")
            return lambda a: a.view(as_unsigned).astype(target)
        if target.kind != "i" or source.itemsize <= target.itemsize or "overflow" in mode:
            return lambda a: a.astype(target)
        limits = np.iinfo(target)
        return lambda a: np.clip(a, limits.min, limits.max).astype(target)
    if target.kind != "i":
        if source == target:
            return rounding
        if mode != "rint" and target.itemsize < source.itemsize:
            raise Fault("unsupported", f"rounding mode {mode} to {target}", op.name)
        return lambda a: a
    if "overflow" in mode:
        return lambda a: np.nan_to_num(rounding(a)).astype(np.int64).astype(target)
    limits = np.iinfo(target)
    return lambda a: np.clip(np.nan_to_num(rounding(a).astype(np.float64)), limits.min, limits.max).astype(
        target
    )


def _select(condition, yes, no):
    if not isinstance(condition, np.ndarray) or condition.dtype != np.bool_:
        condition = np.asarray(condition) != 0
    return np.where(condition, yes, no)


_ELEMENTWISE = {
    "vexp": (1, _always(np.exp)),
    "vln": (1, _always(np.log)),
    "vsqrt": (1, _always(np.sqrt)),
    "vrsqrt": (1, _always(lambda a: 1 / np.sqrt(a))),
    "vrec": (1, _always(np.reciprocal)),
    "vabs": (1, _always(np.abs)),
    "vrelu": (1, _always(lambda a: np.maximum(a, 0))),
    "vtanh": (1, _always(np.tanh)),
    "vsin": (1, _always(np.sin)),
    "vcos": (1, _always(np.cos)),
    "vnot": (1, _always(_invert)),
    "vcast": (1, _cast),
    "vadd": (2, _always(np.add)),
    "vsub": (2, _always(np.subtract)),
    "vmul": (2, _always(np.multiply)),
    "vdiv": (2, _always(_divide)),
    "vmax": (2, _always(np.maximum)),
    "vmin": (2, _always(np.minimum)),
    "vmod": (2, _always(np.fmod)),
    "vpow": (2, _always(np.power)),
    "vand": (2, _always(np.bitwise_and)),
    "vor": (2, _always(np.bitwise_or)),
    "vxor": (2, _always(np.bitwise_xor)),
    "vshl": (2, _always(np.left_shift)),
    # Each says `round = true`, but the tool's library (vshrs in meta_op.aiv.c220.bc) does not round.
    "vshr": (2, _always(np.right_shift)),
    "vcmp": (2, _comparison),
    "vsel": (3, _always(_select)),
}


def _moving(inputs: int, compute: Callable[[ir.Operation], Callable]) -> Operation:
    """dst = f(src...), not elementwise: `compute` gives a function of the arrays and dst's shape."""

    def build(op: ir.Operation, function: FunctionBuilder) -> Step:
        where, apply = function.where(op), compute(op)
        sources, (target,), scratch = _operands(op, function, inputs)

        def step(core) -> None:
            registers = core.registers
            operands = [registers[n] for n in sources]
            out = registers[target]
            core.issue(_V, views(operands), (out,), where, views([registers[n] for n in scratch]))
            out.write(apply(*(_value(operand) for operand in operands), shape=out.shape))

        return step

    return Operation(build)


def _broadcast(op: ir.Operation) -> Callable:
    return lambda a, shape: a  # a view's write broadcasts


def _transpose(op: ir.Operation) -> Callable:
    permutation = parsing.integers(op, "permutation")
    return lambda a, shape: a.transpose(permutation).copy()


_REDUCTIONS = {
    "sum": np.add, "prod": np.multiply, "max": np.maximum, "min": np.minimum,
    "any": np.logical_or, "all": np.logical_and, "ori": np.bitwise_or, "andi": np.bitwise_and,
    "xori": np.bitwise_xor, "xor_sum": np.bitwise_xor,
}  # fmt: skip


def _reduce(op: ir.Operation, function: FunctionBuilder) -> Step:
    """vreduce: over reduce_dims, which stay with size one; of two outputs the second is the index."""
    where = function.where(op)
    kind, axes = parsing.text_of(op, "arith"), parsing.integers(op, "reduce_dims")
    (source,), targets, scratch = _operands(op, function, 1)
    by_index = {"max_with_index": (np.max, np.argmax), "min_with_index": (np.min, np.argmin)}.get(kind)
    if by_index is None and kind not in _REDUCTIONS:
        raise Fault("unsupported", f"reduction {kind}", where)

    def step(core) -> None:
        registers = core.registers
        view = registers[source]
        outs = tuple(registers[n] for n in targets)
        core.issue(_V, (view,), outs, where, views([registers[n] for n in scratch]))
        values = view.read()
        if by_index is None:
            dtype = values.dtype if values.dtype.kind in "iu" else None
            outs[0].write(_REDUCTIONS[kind].reduce(values, axis=axes, keepdims=True, dtype=dtype))
        else:
            best, position = by_index
            outs[0].write(best(values, axis=axes[0], keepdims=True))
            if len(outs) > 1:
                outs[1].write(position(values, axis=axes[0], keepdims=True))

    return step


def _arange(op: ir.Operation, function: FunctionBuilder) -> Step:
    """varange: offset + the sum of index times stride."""
    where, numbers = function.where(op), function.numbers(op.operands)
    (target_at, _), (offset_begin, offset_end), (strides_begin, strides_end) = parsing.segments(op)

    def step(core) -> None:
        registers = core.registers
        out = registers[numbers[target_at]]
        core.issue(_V, (), (out,), where)
        values = np.asarray(registers[numbers[offset_begin]] if offset_end > offset_begin else 0)
        for length, n in zip(out.shape, numbers[strides_begin:strides_end], strict=True):
            values = values[..., None] + np.arange(length) * registers[n]
        out.write(values)

    return step


def _cumulative(ufunc: np.ufunc) -> Callable[[ir.Operation], Callable]:
    def compute(op: ir.Operation) -> Callable:
        (axis,) = parsing.integers(op, "cum_dims")
        back = "reverse" in op.attributes and ir.BoolAttr(op.attributes["reverse"]).value

        def apply(a, shape):
            a = np.flip(a, axis) if back else a
            result = ufunc.accumulate(a, axis=axis, dtype=a.dtype)
            return np.flip(result, axis) if back else result

        return apply

    return compute


def _gather(op: ir.Operation) -> Callable:
    """vgather: along the last dimension. A negative index is out of bounds, as on the device."""
    where = op.name

    def apply(a, indices, shape):
        if indices.size and not 0 <= indices.min() <= indices.max() < a.shape[-1]:
            raise Fault(
                "out of bounds", f"gathers element {indices.min()} or {indices.max()} of {a.shape[-1]}", where
            )
        return np.take_along_axis(a, indices.astype(np.intp), axis=-1)

    return apply


def _flip(op: ir.Operation) -> Callable:
    axis = parsing.integer(op, "flip_axis")
    return lambda a, shape: np.flip(a, axis).copy()


def _concatenate(op: ir.Operation) -> Callable:
    axis = parsing.integer(op, "dim")
    return lambda *arrays, shape: np.concatenate(arrays, axis)


def _interleave(op: ir.Operation) -> Callable:
    return lambda *arrays, shape: np.stack([np.broadcast_to(a, arrays[0].shape) for a in arrays], -1).reshape(
        shape
    )


def _deinterleave(op: ir.Operation, function: FunctionBuilder) -> Step:
    """vdeinterleave: every channel of the last dimension, or one of them."""
    where, (source, *targets) = function.where(op), function.numbers(op.operands)
    channels = parsing.integer(op, "channel_num") if "channel_num" in op.attributes else 2
    mode = parsing.text_of(op, "index_mode", "ALL_CHANNELS").upper()
    first = 0 if mode.startswith("ALL") else int(mode.rsplit("_", 1)[-1])

    def step(core) -> None:
        view, outs = core.registers[source], tuple(core.registers[n] for n in targets)
        core.issue(_V, (view,), outs, where)
        values = view.read()
        for channel, out in enumerate(outs, start=first):
            out.write(values[..., channel::channels])

    return step


OPERATIONS = {f"hivm.hir.{name}": _elementwise(*entry) for name, entry in _ELEMENTWISE.items()} | {
    "hivm.hir.vbrc": _moving(1, _broadcast),
    "hivm.hir.vtranspose": _moving(1, _transpose),
    "hivm.hir.vcumsum": _moving(1, _cumulative(np.add)),
    "hivm.hir.vcumprod": _moving(1, _cumulative(np.multiply)),
    "hivm.hir.vgather": _moving(2, _gather),
    "hivm.hir.vflip": _moving(1, _flip),
    "hivm.hir.vinterleave": _moving(2, _interleave),
    "hivm.hir.vreduce": Operation(_reduce),
    "hivm.hir.varange": Operation(_arange),
    "hivm.hir.vdeinterleave": Operation(_deinterleave),
}
