"""Loops and branches: kept for the launch plan, their bodies set apart as functions compiled like programs.

A scan or fori_loop counts: its number of trips is known when it is compiled, and so is, at each launch, its
counter, so slices at the counter are addresses that the host works out. Short loops are unrolled.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from jaxlib.mlir import ir
from jaxlib.mlir.dialects import func, stablehlo

from tpu_npu_backends.ascend.compiler.rewriting import (
    call_of_kind,
    clone_block,
    name_of,
    remap,
    replace,
    walk,
)

_UNROLLED_OPS = 512  # a loop without products is unrolled when it comes to no more than these
_HOST_OPS = {
    f"stablehlo.{name}"
    for name in (
        *("add", "subtract", "multiply", "compare", "select", "convert", "maximum", "minimum", "clamp"),
        *("and", "or", "not", "xor"),
    )
}


@dataclass(frozen=True)
class Count:
    """How a loop counts: its value number `carried` is start, start + step, ... for `trips` trips."""

    carried: int
    start: int
    step: int
    trips: int


def count_of(loop: ir.Operation) -> Count | None:
    """How a stablehlo.while counts; None where its end depends on data."""
    condition, body = (region.blocks[0] for region in loop.regions)
    (pred,) = _terminator(condition).operands
    compare = _owner(pred)
    if (
        compare is None
        or compare.name != "stablehlo.compare"
        or "LT" not in str(compare.attributes["comparison_direction"])
    ):
        return None
    limit = constant_of(compare.operands[1])
    carried = _argument_number(compare.operands[0], condition)
    if limit is None or carried is None:
        return None
    start = constant_of(loop.operands[carried])
    after = _owner(_terminator(body).operands[carried])
    if start is None or after is None or after.name != "stablehlo.add":
        return None
    for mine, other in (after.operands, list(after.operands)[::-1]):
        step = constant_of(other)
        if _argument_number(mine, body) == carried and step is not None and step > 0:
            return Count(carried, start, step, max(0, -(-(limit - start) // step)))
    return None


def constant_of(value: ir.Value) -> int | None:
    """The integer of a scalar constant."""
    owner = _owner(value)
    if owner is None or owner.name not in ("stablehlo.constant", "arith.constant"):
        return None
    kind = ir.RankedTensorType(value.type)
    if kind.rank or not isinstance(kind.element_type, ir.IntegerType):
        return None
    return ir.DenseIntElementsAttr(owner.attributes["value"])[0]


def known_to_host(value: ir.Value) -> bool:
    """Whether a scalar follows from constants and counters of loops alone."""
    kind = ir.RankedTensorType(value.type)
    if kind.rank or not isinstance(kind.element_type, ir.IntegerType):
        return False
    owner = _owner(value)
    if owner is None:
        argument = ir.BlockArgument(value)
        loop = argument.owner.owner.operation
        count = count_of(loop) if loop.name == "stablehlo.while" else None
        return count is not None and count.carried == argument.arg_number
    if owner.name == "stablehlo.constant":
        return True
    return owner.name in _HOST_OPS and all(known_to_host(operand) for operand in owner.operands)


def unroll_short_loops(module: ir.Module) -> bool:
    """Loops of at most one trip, and small ones without products, become straight lines. True if any did."""
    unrolled = False
    for loop in list(walk(module.operation)):
        if loop.name != "stablehlo.while" or (count := count_of(loop)) is None:
            continue
        names = [op.name for op in walk(loop)]
        small = count.trips * len(names) <= _UNROLLED_OPS
        if count.trips <= 1 or (small and not {"stablehlo.dot_general", "stablehlo.while"} & set(names)):
            _unroll(loop, count)
            unrolled = True
    return unrolled


def _unroll(loop: ir.Operation, count: Count) -> None:
    values = list(loop.operands)
    for trip in range(count.trips):
        counter = ir.RankedTensorType(values[count.carried].type)
        at = ir.IntegerAttr.get(counter.element_type, count.start + trip * count.step)
        with ir.InsertionPoint(loop), loop.location:
            values[count.carried] = stablehlo.constant(ir.DenseElementsAttr.get_splat(counter, at))
        values = clone_block(loop.regions[1].blocks[0], values, loop)
    replace(loop, values)


def outline(module: ir.Module) -> None:
    """Every loop and branch becomes a call of kind "loop" or "branch" beside functions of its parts."""
    for op in list(walk(module.operation)):
        if op.name == "stablehlo.while":
            with ir.InsertionPoint(op), op.location:
                replace(op, _outline_loop(op, module))
        elif op.name in ("stablehlo.case", "stablehlo.if"):
            with ir.InsertionPoint(op), op.location:
                replace(op, _outline_branch(op, module))


def _outline_loop(loop: ir.Operation, module: ir.Module) -> list[ir.Value]:
    count = count_of(loop)
    captured = _captured(loop)
    condition, body = (_function(region, captured, module, "loop") for region in loop.regions)
    facts = {"condition": condition, "body": body, "carried": len(loop.operands)}
    if count is not None:
        facts |= {"trips": count.trips, "counter": count.carried, "start": count.start, "step": count.step}
    types = [result.type for result in loop.results]
    return call_of_kind(loop, "loop", [*loop.operands, *captured], types, facts)


def _outline_branch(op: ir.Operation, module: ir.Module) -> list[ir.Value]:
    captured = _captured(op)
    regions = list(op.regions)
    if op.name == "stablehlo.if":  # its first region is for true, which is 1
        regions.reverse()
    names = [_function(region, captured, module, "branch") for region in regions]
    types = [result.type for result in op.results]
    facts = {"branches": ",".join(names)}
    return call_of_kind(op, "branch", [op.operands[0], *captured], types, facts)


def _captured(op: ir.Operation) -> list[ir.Value]:
    """Values from outside that an op's regions use; scalar constants are copied into the regions instead."""
    inner = list(walk(op))
    mine: set[ir.Value] = {result for each in inner for result in each.results}
    for region in op.regions:
        mine.update(argument for block in region.blocks for argument in block.arguments)
    for each in inner:
        for region in each.regions:
            mine.update(argument for block in region.blocks for argument in block.arguments)
    captured: dict[ir.Value, None] = {}
    for each in inner:
        for index, operand in enumerate(each.operands):
            if operand in mine:
                continue
            owner = _owner(operand)
            if owner is not None and owner.name == "stablehlo.constant":
                with ir.InsertionPoint(each):
                    each.operands[index] = owner.clone().operation.results[0]
            else:
                captured[operand] = None
    return list(captured)


def _function(region: ir.Region, captured: Sequence[ir.Value], module: ir.Module, kind: str) -> str:
    """A private function of a region: its arguments, then what it captures."""
    block = region.blocks[0]
    terminator = _terminator(block)
    name = f"{kind}_part.{sum(1 for _ in module.body.operations)}"
    arguments = [argument.type for argument in block.arguments] + [value.type for value in captured]
    results = [operand.type for operand in terminator.operands]
    with ir.InsertionPoint(module.body):
        made = func.FuncOp(name, (arguments, results), visibility="private")
    inside = made.add_entry_block()
    with ir.InsertionPoint(inside):
        end = func.ReturnOp([])
    values = list(inside.arguments)
    returned = clone_block(block, values[: len(block.arguments)], end.operation)
    outside = dict(zip(captured, values[len(block.arguments) :], strict=True))
    for each in inside.operations:
        remap(each.operation, outside)
    with ir.InsertionPoint(end):
        func.ReturnOp([outside.get(value, value) for value in returned])
    end.operation.erase()
    return name_of(made.operation)


def _terminator(block: ir.Block) -> ir.Operation:
    return list(block.operations)[-1].operation


def _owner(value: ir.Value) -> ir.Operation | None:
    """The op that makes a value; None for an argument."""
    owner = value.owner
    if isinstance(owner, ir.Block):
        return None
    return owner.operation


def _argument_number(value: ir.Value, block: ir.Block) -> int | None:
    if _owner(value) is not None or value.owner != block:
        return None
    return ir.BlockArgument(value).arg_number
