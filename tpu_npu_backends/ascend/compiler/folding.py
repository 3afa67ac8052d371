"""Constants worked out at compile time, reshapes joined, and what nobody needs left out."""

import numpy as np

from tpu_npu_backends.ascend.compiler import evaluating
from tpu_npu_backends.ascend.compiler.graph import DTYPES, Function, Node, Value, live_nodes

_LARGEST_FOLDED = 1 << 20  # elements of a constant that compilation makes


def fold(function: Function) -> None:
    """Simplify a function in place; its arguments and results keep their shapes."""
    stands_for: dict[Value, Value] = {}
    for node in function.nodes:
        node.operands = [stands_for.get(operand, operand) for operand in node.operands]
        _as_reshape(node)
        if len(node.results) != 1 or node.kind not in evaluating.KINDS:
            continue
        (result,) = node.results
        if node.kind == "reshape":
            source = node.operands[0]
            while source.node is not None and source.node.kind == "reshape":
                source = source.node.operands[0]
            node.operands = [source]
            if source.shape == result.shape:
                stands_for[result] = source
                continue
        chosen = _chosen(node)
        if chosen is not None:
            stands_for[result] = chosen
            continue
        if all(operand.constant is not None for operand in node.operands):
            constant = _evaluated(node, result)
            if constant is not None:
                stands_for[result] = Value(result.shape, result.dtype, constant=constant)
    function.results = [stands_for.get(result, result) for result in function.results]
    function.nodes = list(live_nodes(function))


def _as_reshape(node: Node) -> None:
    """A broadcast along dimensions of one, or a transposition that moves only those, moves no element."""
    if node.kind == "broadcast" and node.operands[0].size == node.results[0].size:
        node.kind, node.facts = "reshape", {}
    elif node.kind == "transpose":
        shape = node.operands[0].shape
        wide = [d for d in node.facts["permutation"] if shape[d] > 1]
        if wide == sorted(wide):
            node.kind, node.facts = "reshape", {}
    elif node.kind == "slice" and node.operands[0].shape == node.results[0].shape:
        node.kind, node.facts = "reshape", {}
    elif (node.kind == "reduce" and node.operands[0].size == node.results[0].size and _is_neutral(node)) or (
        node.kind == "pad" and node.operands[0].shape == node.results[0].shape
    ):
        node.kind, node.facts, node.operands = "reshape", {}, node.operands[:1]


def _chosen(node: Node) -> Value | None:
    """What a selection by a known condition takes: the guards of shifts by known amounts, for instance."""
    if node.kind != "arith.select":
        return None
    condition, *choices = node.operands
    if condition.constant is None or condition.constant.ndim:
        return None
    chosen = choices[0 if condition.constant else 1]
    return chosen if chosen.shape == node.results[0].shape else None


def _is_neutral(reduce: Node) -> bool:
    """Whether a reduction starts from what changes nothing."""
    start = reduce.operands[1].constant
    if start is None or start.ndim:
        return False
    if reduce.facts["combiner"] in ("arith.addf", "arith.addi", "arith.ori"):
        return not start
    return reduce.facts["combiner"] in ("arith.maximumf", "arith.minimumf") and bool(np.isinf(start))


def _evaluated(node: Node, result: Value) -> np.ndarray | None:
    """A constant's values, a scalar where all are known to be the same; None where it is too large."""
    known = [operand.known for operand in node.operands]
    scalars = all(array.ndim == 0 for array in known)
    if scalars and (node.elementwise or node.kind in ("broadcast", "reshape", "transpose", "slice")):
        if not node.elementwise:
            return known[0]
        return evaluating.evaluate(node.kind, node.facts, known, (), result.dtype)
    if max(result.size, *(operand.size for operand in node.operands)) > _LARGEST_FOLDED:
        return None
    arrays = [operand.array() for operand in node.operands]
    values = evaluating.evaluate(node.kind, node.facts, arrays, result.shape, result.dtype)
    values = np.ascontiguousarray(values).astype(DTYPES[result.dtype])
    if values.size and (values == values.flat[0]).all():
        return np.array(values.flat[0])
    return values
