"""Positions of extremes as two reductions; sorting stays with the host, and is listed.

A sort moves data by data: bishengir 1.2 has no kernel of it for tensors.
"""

import numpy as np
from jaxlib.mlir import ir
from jaxlib.mlir.dialects import stablehlo

from tpu_npu_backends.ascend.compiler.dots import element_of, shape_of
from tpu_npu_backends.ascend.compiler.indexing import compare, constant, is_float, splat, spread, walk_block
from tpu_npu_backends.ascend.compiler.rewriting import Rewrite, call_of_kind


def _extreme_with_position(op: ir.Operation) -> list[ir.Value] | None:
    """argmax and argmin: the extreme, then the first place that holds it."""
    if len(op.results) != 2 or len(list(ir.DenseI64ArrayAttr(op.attributes["dimensions"]))) != 1:
        return None
    values, positions = list(op.operands)[:2]
    owner = positions.owner.operation if not isinstance(positions.owner, ir.Block) else None
    (dim,) = ir.DenseI64ArrayAttr(op.attributes["dimensions"])
    directions = [
        str(each.attributes["comparison_direction"]) for each in walk_block(op) if "compare" in each.name
    ]
    largest = any("GT" in each or "GE" in each for each in directions[:1])
    if owner is None or owner.name not in ("stablehlo.iota", "stablehlo.broadcast_in_dim") or not directions:
        return None
    element, shape = element_of(values), shape_of(values)
    if not is_float(element) and str(element) != "i32":
        return None
    start = (-np.inf if largest else np.inf) if is_float(element) else (-(2**31) if largest else 2**31 - 1)
    extreme = _reduced(values, dim, start, stablehlo.maximum if largest else stablehlo.minimum)
    kept = [d for d in range(len(shape)) if d != dim]
    same = compare_equal(values, spread(extreme, shape, kept))
    number = ir.IntegerType.get_signless(32)
    places = spread(constant(np.arange(shape[dim]), number), shape, [dim])
    far = splat(ir.RankedTensorType(places.type), shape[dim])
    first = _reduced(stablehlo.select(same, places, far), dim, shape[dim], stablehlo.minimum)
    if element_of(op.results[1]) != number:
        first = stablehlo.convert(op.results[1].type, first)
    return [extreme, first]


def compare_equal(a: ir.Value, b: ir.Value) -> ir.Value:
    """Where two tensors are equal; NaN equals NaN, so that one that is an extreme has a place."""
    if not is_float(element_of(a)):
        return compare(a, b, "EQ")
    kind = stablehlo.ComparisonTypeAttr.get("FLOAT")
    of = lambda x, y, way: stablehlo.compare(  # noqa: E731
        x, y, stablehlo.ComparisonDirectionAttr.get(way), compare_type=kind
    )
    return stablehlo.or_(of(a, b, "EQ"), stablehlo.and_(of(a, a, "NE"), of(b, b, "NE")))


def _reduced(value: ir.Value, dim: int, start: float, combine) -> ir.Value:
    element, shape = element_of(value), shape_of(value)
    scalar = ir.RankedTensorType.get([], element)
    kept = ir.RankedTensorType.get([size for d, size in enumerate(shape) if d != dim], element)
    dims = ir.DenseI64ArrayAttr.get([dim])
    reduce = stablehlo.ReduceOp([kept], [value], [splat(scalar, start)], dims)
    block = ir.Block.create_at_start(reduce.regions[0], [scalar, scalar])
    with ir.InsertionPoint(block):
        stablehlo.return_([combine(*block.arguments)])
    return reduce.results[0]


def _sort(op: ir.Operation) -> list[ir.Value] | None:
    """By the first operand, or in the order of equal ones when the comparison says so."""
    compares = [each for each in walk_block(op) if each.name == "stablehlo.compare"]
    direction = str(compares[-1].attributes["comparison_direction"]) if compares else ""
    if not ("LT" in direction or "GT" in direction) or any(
        each.name in ("stablehlo.or", "stablehlo.and") for each in walk_block(op)
    ):
        return None
    facts = {
        "op": "sort",
        "dimension": ir.IntegerAttr(op.attributes["dimension"]).value,
        "descending": int("GT" in direction),
    }
    return call_of_kind(op, "host", list(op.operands), [result.type for result in op.results], facts)


REWRITES: dict[str, Rewrite] = {
    "stablehlo.reduce": _extreme_with_position,
    "stablehlo.sort": _sort,
}
