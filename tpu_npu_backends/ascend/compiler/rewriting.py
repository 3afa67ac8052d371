"""Editing MLIR in place: walking, replacing, cloning, and calls for what linalg has no form for."""

from collections.abc import Callable, Iterator, Mapping, Sequence

from jaxlib.mlir import ir
from jaxlib.mlir.dialects import func

KIND = "ascend.kind"  # attribute of a declared function: what a call of it stands for

Rewrite = Callable[[ir.Operation], Sequence[ir.Value] | None]


def walk(op: ir.Operation) -> Iterator[ir.Operation]:
    """Every op below one, inner ones first."""
    for region in op.regions:
        for block in region.blocks:
            for inner in list(block.operations):
                yield from walk(inner.operation)
                yield inner.operation


def replace(op: ir.Operation, values: Sequence[ir.Value]) -> None:
    """Replace an op's results by others, and erase it."""
    for result, value in zip(op.results, values, strict=True):
        result.replace_all_uses_with(value)
    op.erase()


def rewrite_each(module: ir.Module, rewrites: Mapping[str, Rewrite]) -> int:
    """Replace every op that has a rewrite, by name, with the values that the rewrite builds before it.

    A rewrite that returns None leaves its op as it is. Returns how many were replaced.
    """
    replaced = 0
    for op in list(walk(module.operation)):
        rewrite = rewrites.get(op.name)
        if rewrite is None:
            continue
        with ir.InsertionPoint(op), op.location:
            values = rewrite(op)
        if values is not None:
            replace(op, values)
            replaced += 1
    return replaced


def clone_block(
    block: ir.Block, arguments: Sequence[ir.Value], before: ir.Operation, *, called: bool = False
) -> list[ir.Value]:
    """Copy a block's ops before an op, with values for its arguments; returns what it would return.

    Args:
      block: a function's or a region's.
      arguments: values for its arguments.
      before: where to; with `called`, the call that the copies stand for.
      called: the copies' locations say so.
    """
    values: dict[ir.Value, ir.Value] = dict(zip(block.arguments, arguments, strict=True))
    for op in block.operations:
        op = op.operation
        if op.name in ("func.return", "stablehlo.return"):
            return [values.get(value, value) for value in op.operands]
        with ir.InsertionPoint(before):
            copy = op.clone().operation
        if called:  # whence it was called is known too
            copy.location = ir.Location.callsite(op.location, [before.location])
        remap(copy, values)
        values.update(zip(op.results, copy.results, strict=True))
    raise AssertionError("a block without a return")


def remap(op: ir.Operation, values: Mapping[ir.Value, ir.Value]) -> None:
    """Exchange operands of an op and of all below it."""
    for each in (*walk(op), op):
        for index, operand in enumerate(each.operands):
            if operand in values:
                each.operands[index] = values[operand]


def name_of(function: ir.Operation) -> str:
    """The symbol of a func.func."""
    return ir.StringAttr(function.attributes["sym_name"]).value


def callee_of(call: ir.Operation) -> str:
    """The symbol that a func.call names."""
    return ir.FlatSymbolRefAttr(call.attributes["callee"]).value


def module_of(op: ir.Operation) -> ir.Operation:
    """The module that an op is in."""
    while op.name != "builtin.module":
        if op.parent is None:
            raise AssertionError("an op outside of a module")
        op = op.parent.operation
    return op


def call_of_kind(
    near: ir.Operation,
    kind: str,
    operands: Sequence[ir.Value],
    results: Sequence[ir.Type],
    facts: Mapping[str, int | str | Sequence[int]] | None = None,
) -> list[ir.Value]:
    """A call of a fresh declared function that stands for an op of our own; passes leave it alone.

    Args:
      near: an op of the module; the call is built at the current insertion point.
      kind: what it stands for, such as "matmul".
      operands: its operands.
      results: types of its results.
      facts: attributes of the declaration, read back with `facts_of`.
    """
    body = module_of(near).regions[0].blocks[0]
    number = sum(1 for _ in body.operations)
    with ir.InsertionPoint(body):
        declared = func.FuncOp(
            f"{kind}.{number}", ([value.type for value in operands], list(results)), visibility="private"
        )
    declared.operation.attributes[KIND] = ir.StringAttr.get(kind)
    for name, fact in (facts or {}).items():
        declared.operation.attributes[f"ascend.{name}"] = _attribute(fact)
    return list(func.CallOp(list(results), f"{kind}.{number}", list(operands)).results)


def facts_of(function: ir.Operation) -> dict[str, int | str | list[int]]:
    """What `call_of_kind` noted on a declaration, `kind` included."""
    facts = {}
    for named in function.attributes:
        name = named if isinstance(named, str) else named.name
        if name.startswith("ascend."):
            facts[name.removeprefix("ascend.")] = _value(function.attributes[name])
    return facts


def _attribute(fact: int | str | Sequence[int]) -> ir.Attribute:
    if isinstance(fact, str):
        return ir.StringAttr.get(fact)
    if isinstance(fact, int):
        return ir.IntegerAttr.get(ir.IntegerType.get_signless(64), fact)
    return ir.DenseI64ArrayAttr.get(list(fact))


def _value(attribute: ir.Attribute) -> int | str | list[int]:
    if isinstance(attribute, ir.StringAttr):
        return ir.StringAttr(attribute).value
    if isinstance(attribute, ir.IntegerAttr):
        return ir.IntegerAttr(attribute).value
    return list(ir.DenseI64ArrayAttr(attribute))
