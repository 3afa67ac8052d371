"""The scalar unit: arith, affine, block numbers, and single elements of memory."""

import math
import operator
from collections.abc import Callable

import numpy as np
from jaxlib.mlir import ir

from tpu_npu_backends.ascend.simulator import parsing
from tpu_npu_backends.ascend.simulator.building import Function, Operation, Step
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


def _constant(op: ir.Operation, function: Function) -> Step:
    result, type_ = function.number(op.results[0]), op.results[0].type
    if "value" not in op.attributes or parsing.memref_of(type_) is not None:
        raise Fault("unsupported", "a constant that is no scalar", function.where(op))
    value = _wrapper(type_)(op.attributes["value"].value)

    def step(core) -> None:
        core.registers[result] = value

    return step


def _compute(compute: Callable) -> Operation:
    """A pure operation of scalars."""

    def build(op: ir.Operation, function: Function) -> Step:
        operands, result = function.numbers(op.operands), function.number(op.results[0])
        wrap = _wrapper(op.results[0].type)

        def step(core) -> None:
            core.registers[result] = wrap(compute(*(core.registers[n] for n in operands)))

        return step

    return Operation(build, pure=True)


def _truncated_division(a: int, b: int) -> int:
    return abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)


_ORDER = (operator.lt, operator.le, operator.gt, operator.ge)
_INTEGER_ORDER = (operator.eq, operator.ne, *_ORDER, *_ORDER)  # signed, then unsigned
_FLOAT_ORDER = {
    1: operator.eq, 2: operator.gt, 3: operator.ge, 4: operator.lt, 5: operator.le, 6: operator.ne,
    8: operator.eq, 9: operator.gt, 10: operator.ge, 11: operator.lt, 12: operator.le, 13: operator.ne,
}  # fmt: skip


def _compare(op: ir.Operation, function: Function) -> Step:
    (left, right), result = function.numbers(op.operands), function.number(op.results[0])
    predicate = parsing.integer(op, "predicate")
    unsigned = op.name == "arith.cmpi" and predicate >= 6
    orders = _INTEGER_ORDER if op.name == "arith.cmpi" else _FLOAT_ORDER
    compare = orders[predicate]

    def step(core) -> None:
        a, b = core.registers[left], core.registers[right]
        if unsigned:
            a, b = a % (1 << 64), b % (1 << 64)
        core.registers[result] = bool(compare(a, b))

    return step


def _affine(choose: Callable) -> Operation:
    def build(op: ir.Operation, function: Function) -> Step:
        values = parsing.affine_function(ir.AffineMapAttr(op.attributes["map"]).value)
        operands, result = function.numbers(op.operands), function.number(op.results[0])

        def step(core) -> None:
            registers = core.registers
            registers[result] = choose(values([registers[n] for n in operands]))

        return step

    return Operation(build, pure=True)


def _core_number(attribute: str) -> Operation:
    def build(op: ir.Operation, function: Function) -> Step:
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


def _load(op: ir.Operation, function: Function) -> Step:
    where, (source, *indices) = function.where(op), function.numbers(op.operands)
    result, wrap = function.number(op.results[0]), _wrapper(op.results[0].type)

    def step(core) -> None:
        registers = core.registers
        element = _element(registers[source], [registers[n] for n in indices], where)
        core.issue(NUMBER["PIPE_S"], (element,), (), where)
        registers[result] = wrap(element.read()[()])

    return step


def _store(op: ir.Operation, function: Function) -> Step:
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
    "arith.shli": _compute(operator.lshift),
    "arith.shrsi": _compute(operator.rshift),
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
    "math.sqrt": _compute(np.sqrt),
    "math.exp": _compute(np.exp),
    "math.log": _compute(np.log),
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
