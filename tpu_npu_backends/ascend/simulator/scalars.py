"""The scalar unit: arith, affine, block numbers, and single elements of memory."""

import math
import operator
from collections.abc import Callable
from typing import SupportsInt

import numpy as np
from jaxlib.mlir import ir

from tpu_npu_backends.ascend.simulator import parsing
from tpu_npu_backends.ascend.simulator.building import FunctionBuilder, Operation, Step
from tpu_npu_backends.ascend.simulator.faults import Fault
from tpu_npu_backends.ascend.simulator.synchronisation import NUMBER

# Integers are Python's, wrapped to their width; floats are float32, 16-bit ones rounded to their type.


def _wrapper(type_: ir.Type) -> Callable:
    """Brings a result into the range of its type."""
    name = str(type_)
    if name == "i1":
        return bool
    if name in ("index", "i64"):
        return int
    if name.startswith("i"):
        half = 1 << int(name[1:]) - 1
        return lambda value: (int(value) + half) % (2 * half) - half
    dtype = parsing.dtype_of(type_)
    return lambda value: np.float32(np.asarray(value).astype(dtype))


def _constant(op: ir.Operation, function: FunctionBuilder) -> Step:
    result, type_ = function.number(op.results[0]), op.results[0].type
    constant = op.attributes.get("value")
    if not isinstance(constant, ir.IntegerAttr | ir.FloatAttr | ir.BoolAttr):
        raise Fault("unsupported", "a constant that is no scalar", function.where(op))
    value = _wrapper(type_)(constant.value)

    def step(core) -> None:
        core.registers[result] = value

    return step


def _compute(compute: Callable, source_bits: bool = False) -> Operation:
    """A pure operation of scalars; with `source_bits`, `compute` is given its operand's width as well."""

    def build(op: ir.Operation, function: FunctionBuilder) -> Step:
        operands, result = function.numbers(op.operands), function.number(op.results[0])
        wrap, more = _wrapper(op.results[0].type), ()
        if source_bits:
            more = (ir.IntegerType(op.operands[0].type).width,)

        def step(core) -> None:
            core.registers[result] = wrap(compute(*(core.registers[n] for n in operands), *more))

        return step

    return Operation(build, pure=True)


def _unsigned(value: SupportsInt, bits: int) -> int:
    return int(value) % (1 << bits)


def _shift(shift: Callable[[int, int], int]) -> Callable[[int, int], int]:
    """Shifts by less than none or by more than any width are undefined in MLIR; here they leave no bit."""
    return lambda a, b: shift(a, b) if 0 <= b < 64 else 0


def _shift_unsigned(a: SupportsInt, b: int, bits: int) -> int:
    return _unsigned(a, bits) >> b if 0 <= b < bits else 0


def _from_unsigned(value: SupportsInt, bits: int) -> np.float32:
    return np.float32(_unsigned(value, bits))


def _bitcast(op: ir.Operation, function: FunctionBuilder) -> Step:
    operand, result = function.number(op.operands[0]), function.number(op.results[0])
    source, target = (parsing.dtype_of(value.type) for value in (op.operands[0], op.results[0]))
    wrap = _wrapper(op.results[0].type)

    def step(core) -> None:
        core.registers[result] = wrap(np.asarray(core.registers[operand]).astype(source).view(target)[()])

    return step


def _truncated_division(a: int, b: int) -> int:
    return abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)


_ORDER = (operator.lt, operator.le, operator.gt, operator.ge)
_INTEGER_ORDER = (operator.eq, operator.ne, *_ORDER, *_ORDER)  # signed, then unsigned
# Ordered ones (1 to 6) are false for a NaN, unordered ones (8 to 13) true.
_FLOAT_ORDER = (operator.eq, operator.gt, operator.ge, operator.lt, operator.le, operator.ne)


def _compare_floats(predicate: int) -> Callable:
    if predicate in (0, 15):
        return lambda a, b: predicate == 15
    if predicate in (7, 14):
        return lambda a, b: bool(np.isnan(a) or np.isnan(b)) == (predicate == 14)
    unordered = predicate > 7
    order = _FLOAT_ORDER[predicate - 8 if unordered else predicate - 1]
    return lambda a, b: unordered if np.isnan(a) or np.isnan(b) else bool(order(a, b))


def _compare(op: ir.Operation, function: FunctionBuilder) -> Step:
    (left, right), result = function.numbers(op.operands), function.number(op.results[0])
    predicate = parsing.integer(op, "predicate")
    integers = op.name == "arith.cmpi"
    unsigned = integers and predicate >= 6
    compare = _INTEGER_ORDER[predicate] if integers else _compare_floats(predicate)

    def step(core) -> None:
        a, b = core.registers[left], core.registers[right]
        if unsigned:
            a, b = a % (1 << 64), b % (1 << 64)
        core.registers[result] = bool(compare(a, b))

    return step


def _affine(choose: Callable) -> Operation:
    def build(op: ir.Operation, function: FunctionBuilder) -> Step:
        values = parsing.affine_function(ir.AffineMapAttr(op.attributes["map"]).value)
        operands, result = function.numbers(op.operands), function.number(op.results[0])

        def step(core) -> None:
            registers = core.registers
            registers[result] = choose(values([registers[n] for n in operands]))

        return step

    return Operation(build, pure=True)


def _core_number(attribute: str) -> Operation:
    def build(op: ir.Operation, function: FunctionBuilder) -> Step:
        result = function.number(op.results[0])

        def step(core) -> None:
            core.registers[result] = getattr(core, attribute)

        return step

    return Operation(build, pure=True)


def _element(view, indices: list[int], where: str):
    """The view of one element."""
    shift = 0
    for dimension, (index, length, stride) in enumerate(zip(indices, view.shape, view.strides, strict=True)):
        if not 0 <= index < length:
            raise Fault(
                "out of bounds", f"element {index} of dimension {dimension}, which has {length}", where
            )
        shift += index * stride
    return view.with_layout(view.start + shift * (1 if view.packed else view.dtype.itemsize), (), (), where)


def _load(op: ir.Operation, function: FunctionBuilder) -> Step:
    where, (source, *indices) = function.where(op), function.numbers(op.operands)
    result, wrap = function.number(op.results[0]), _wrapper(op.results[0].type)

    def step(core) -> None:
        registers = core.registers
        element = _element(registers[source], [registers[n] for n in indices], where)
        core.issue(NUMBER["PIPE_S"], (element,), (), where)
        registers[result] = wrap(element.read()[()])

    return step


def _store(op: ir.Operation, function: FunctionBuilder) -> Step:
    where, (value, target, *indices) = function.where(op), function.numbers(op.operands)

    def step(core) -> None:
        registers = core.registers
        element = _element(registers[target], [registers[n] for n in indices], where)
        core.issue(NUMBER["PIPE_S"], (), (element,), where)
        element.write(registers[value])

    return step


def _select(condition, yes, no):
    return yes if condition else no


OPERATIONS = {
    "arith.constant": Operation(_constant, pure=True),
    "arith.addi": _compute(operator.add),
    "arith.subi": _compute(operator.sub),
    "arith.muli": _compute(operator.mul),
    "arith.divsi": _compute(_truncated_division),
    "arith.remsi": _compute(lambda a, b: a - b * _truncated_division(a, b)),
    "arith.floordivsi": _compute(operator.floordiv),
    "arith.ceildivsi": _compute(lambda a, b: -(-a // b)),
    "arith.minsi": _compute(min),
    "arith.maxsi": _compute(max),
    "arith.andi": _compute(operator.and_),
    "arith.ori": _compute(operator.or_),
    "arith.xori": _compute(operator.xor),
    "arith.shli": _compute(_shift(operator.lshift)),
    "arith.shrsi": _compute(_shift(operator.rshift)),
    "arith.index_cast": _compute(lambda a: a),
    "arith.index_castui": _compute(lambda a: a),
    "arith.extsi": _compute(lambda a: -a if a is True else a),
    "arith.trunci": _compute(lambda a: a),
    "arith.select": _compute(_select),
    "arith.addf": _compute(operator.add),
    "arith.subf": _compute(operator.sub),
    "arith.mulf": _compute(operator.mul),
    "arith.divf": _compute(operator.truediv),
    "arith.negf": _compute(operator.neg),
    "arith.maximumf": _compute(np.maximum),
    "arith.minimumf": _compute(np.minimum),
    "arith.maxnumf": _compute(np.fmax),
    "arith.minnumf": _compute(np.fmin),
    "arith.sitofp": _compute(np.float32),
    "arith.fptosi": _compute(math.trunc),
    "arith.extf": _compute(lambda a: a),
    "arith.truncf": _compute(lambda a: a),
    "arith.uitofp": _compute(_from_unsigned, source_bits=True),
    "arith.extui": _compute(_unsigned, source_bits=True),
    "arith.shrui": _compute(_shift_unsigned, source_bits=True),
    "arith.bitcast": Operation(_bitcast, pure=True),
    "math.absf": _compute(np.abs),
    "math.absi": _compute(abs),
    "math.sqrt": _compute(np.sqrt),
    "math.rsqrt": _compute(lambda a: 1 / np.sqrt(a)),
    "math.exp": _compute(np.exp),
    "math.log": _compute(np.log),
    "math.log1p": _compute(np.log1p),
    "math.expm1": _compute(np.expm1),
    "math.sin": _compute(np.sin),
    "math.cos": _compute(np.cos),
    "math.tanh": _compute(np.tanh),
    "math.erf": _compute(math.erf),
    "math.floor": _compute(np.floor),
    "math.ceil": _compute(np.ceil),
    "math.trunc": _compute(np.trunc),
    "math.roundeven": _compute(np.rint),
    "math.powf": _compute(np.power),
    "math.copysign": _compute(np.copysign),
    "math.fma": _compute(lambda a, b, c: np.float64(a) * np.float64(b) + c),
    "arith.cmpi": Operation(_compare, pure=True),
    "arith.cmpf": Operation(_compare, pure=True),
    "affine.apply": _affine(lambda values: values[0]),
    "affine.min": _affine(min),
    "affine.max": _affine(max),
    "hivm.hir.get_block_idx": _core_number("block"),
    "hivm.hir.get_block_num": _core_number("blocks"),
    "hivm.hir.get_sub_block_idx": _core_number("sub_block"),
    "hivm.hir.get_sub_block_num": _core_number("sub_blocks"),
    "memref.load": Operation(_load),
    "memref.store": Operation(_store),
}
