"""linalg.map to tensor-level arith and math: bishengir takes no scalar regions."""

import numpy as np
from jaxlib.mlir import ir

from tpu_npu_backends.ascend.compiler.rewriting import walk

_INDEX_CASTS = ("arith.index_cast", "arith.index_castui")


def expand_maps(module: ir.Module) -> None:
    """Replace every linalg.map by its body, op by op on whole tensors."""
    for op in list(walk(module.operation)):
        if op.name == "linalg.map":
            with ir.InsertionPoint(op), op.location:
                op.results[0].replace_all_uses_with(_expanded(op))
            op.erase()


def _expanded(op: ir.Operation) -> ir.Value:
    shape = list(ir.RankedTensorType(op.results[0].type).shape)
    block = op.regions[0].blocks[0]
    values = dict(zip(block.arguments, op.operands, strict=False))
    counted: dict[ir.Value, int] = {}  # results of linalg.index -> their dimension

    def on_tensors(value: ir.Value) -> ir.Value:
        if value not in values:
            values[value] = _splat(value, shape)
        return values[value]

    for inner in block.operations:
        inner = inner.operation
        if inner.name == "linalg.yield":
            return on_tensors(inner.operands[0])
        if inner.name == "linalg.index":
            counted[inner.results[0]] = ir.IntegerAttr(inner.attributes["dim"]).value
        elif inner.name in _INDEX_CASTS and inner.operands[0] in counted:
            values[inner.results[0]] = _iota(counted[inner.operands[0]], shape, inner.results[0].type)
        else:
            types = [ir.RankedTensorType.get(shape, result.type) for result in inner.results]
            attributes = {name: inner.attributes[name] for name in _names(inner)}
            if inner.name == "arith.constant":
                attributes["value"] = ir.DenseElementsAttr.get_splat(types[0], attributes["value"])
            operands = [on_tensors(operand) for operand in inner.operands]
            copy = ir.Operation.create(inner.name, results=types, operands=operands, attributes=attributes)
            values.update(zip(inner.results, copy.results, strict=True))
    raise AssertionError("a map without a yield")


def _names(op: ir.Operation) -> list[str]:
    return [named if isinstance(named, str) else named.name for named in op.attributes]


def _splat(scalar: ir.Value, shape: list[int]) -> ir.Value:
    """A scalar from outside the map, in every place."""
    to = ir.RankedTensorType.get(shape, scalar.type)
    owner = scalar.owner
    if not isinstance(owner, ir.Block) and owner.name == "arith.constant":
        value = ir.DenseElementsAttr.get_splat(to, owner.attributes["value"])
        return ir.Operation.create("arith.constant", results=[to], attributes={"value": value}).result
    return ir.Operation.create("tensor.splat", results=[to], operands=[scalar]).result


def _iota(dimension: int, shape: list[int], element: ir.Type) -> ir.Value:
    """Positions along a dimension, as a constant."""
    kind = {"i32": np.int32, "i64": np.int64, "i16": np.int16, "i8": np.int8}[str(element)]
    along = [-1 if d == dimension else 1 for d in range(len(shape))]
    positions = np.broadcast_to(np.arange(shape[dimension], dtype=kind).reshape(along), shape)
    value = ir.DenseElementsAttr.get(np.ascontiguousarray(positions).data, type=element, shape=shape)
    to = ir.RankedTensorType.get(shape, element)
    return ir.Operation.create("arith.constant", results=[to], attributes={"value": value}).result
