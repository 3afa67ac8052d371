"""How often a loop of a compiled program runs its body."""

import re
from typing import NamedTuple

from pangu_jax.planner.hlo import Computation, Instruction, Module

_KNOWN = re.compile(r'"known_trip_count":\{"n":"(\d+)"\}')
_INTEGER = re.compile(r"-?\d+")
_THROUGH = ("copy", "bitcast", "convert", "reshape", "copy-done", "copy-start")


def trip_count(module: Module, caller: Computation, loop: Instruction) -> int | None:
    """Trips of a `while` instruction of `caller`; None where the text does not say.

    From `known_trip_count` where the compiler says it, as CPU and GPU do. TPU does not: there the loop counts
    from a constant by a constant to a constant. The step matters: a loop unrolled by two keeps its limit and
    steps by 2.
    """
    known = _KNOWN.search(loop.attributes)
    if known:
        return int(known[1])
    condition = module.computations[loop.required("condition").lstrip("%")]
    body = module.computations[loop.required("body").lstrip("%")]
    compared = _comparison(module, condition)
    if compared is None:
        return None
    computation, compare, arguments = compared
    sides = [_side(computation, name, arguments, condition) for name in compare.operands]
    limit = next((side.constant for side in sides if side.constant is not None), None)
    carried = [side.index for side in sides if side.index is not None]
    index = carried[0] if carried else None
    if limit is None and len(carried) == 2:
        # Both sides are carried: the limit is the one that the body leaves as it is.
        moving = 0 if _step(module, body, carried[0]) else 1
        index = carried[moving]
        limit = _initial(caller, loop, carried[1 - moving])
    if index is None or limit is None:
        return None
    start, step = _initial(caller, loop, index), _step(module, body, index)
    if start is None or not step:
        return None
    direction = compare.attribute("direction")
    distance = (limit - start) * (1 if step > 0 else -1)
    inclusive = direction in ("LE", "GE")
    return max(0, (distance + abs(step) - (0 if inclusive else 1)) // abs(step))


def _comparison(
    module: Module, condition: Computation
) -> tuple[Computation, Instruction, tuple[str, ...] | None] | None:
    """The comparison that decides, with the computation that holds it and its parameters' values."""
    root = condition.root
    if root.opcode == "compare":
        return condition, root, None
    if root.opcode in ("fusion", "call") and root.called:
        inner = module.computations[root.called[0]]
        if inner.root.opcode == "compare":
            return inner, inner.root, root.operands
    return None


class _Side(NamedTuple):
    """What a comparison compares: a constant, an element of the loop's tuple by its index, or neither."""

    constant: int | None = None
    index: int | None = None


def _side(
    computation: Computation, name: str, arguments: tuple[str, ...] | None, condition: Computation
) -> _Side:
    instruction = _through(computation, name)
    if arguments is not None and instruction.opcode == "parameter":
        computation = condition
        instruction = _through(condition, arguments[int(instruction.literal)])
    if instruction.opcode == "constant":
        return _Side(constant=_value(instruction))
    if instruction.opcode == "get-tuple-element":
        return _Side(index=int(instruction.required("index")))
    return _Side()


def _through(computation: Computation, name: str) -> Instruction:
    instruction = computation.by_name[name]
    while instruction.opcode in _THROUGH:
        instruction = computation.by_name[instruction.operands[0]]
    return instruction


def _value(constant: Instruction) -> int | None:
    return int(constant.literal) if _INTEGER.fullmatch(constant.literal) else None


def _initial(caller: Computation, loop: Instruction, index: int) -> int | None:
    start = _through(caller, loop.operands[0])
    if start.opcode != "tuple":
        return None
    first = _through(caller, start.operands[index])
    return _value(first) if first.opcode == "constant" else None


def _step(module: Module, body: Computation, index: int) -> int | None:
    """What the body adds to an element of its tuple: through several additions where it is unrolled."""
    if body.root.opcode != "tuple":
        return None
    return _added(module, body, body.root.operands[index], index)


def _added(module: Module, body: Computation, name: str, index: int) -> int | None:
    instruction = _through(body, name)
    if instruction.opcode == "get-tuple-element":
        source = body.by_name[instruction.operands[0]]
        is_carried = source.opcode == "parameter" and int(instruction.required("index")) == index
        return 0 if is_carried else None
    if instruction.opcode == "fusion":
        return _added_in_fusion(module, body, instruction, index)
    if instruction.opcode not in ("add", "subtract"):
        return None
    sign = 1 if instruction.opcode == "add" else -1
    left, right = (_through(body, operand) for operand in instruction.operands)
    if left.opcode == "constant" and sign == 1:
        left, right = right, left
    base = _added(module, body, left.name, index)
    amount = _value(right) if right.opcode == "constant" else None
    return None if base is None or amount is None else base + sign * amount


def _added_in_fusion(module: Module, body: Computation, fusion: Instruction, index: int) -> int | None:
    inner = module.computations[fusion.called[0]]
    root = inner.root
    if root.opcode != "add":
        return None
    sides = [_through(inner, operand) for operand in root.operands]
    amount = base = None
    for side in sides:
        outer = side
        if side.opcode == "parameter":
            outer = _through(body, fusion.operands[int(side.literal)])
        if outer.opcode == "constant":
            amount = _value(outer)
        elif outer.opcode != "parameter":
            base = _added(module, body, outer.name, index)
    return None if base is None or amount is None else base + amount
