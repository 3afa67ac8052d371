"""Slices and concatenations in the forms that the tool gets right: columns of matrices.

bishengir 1.2 folds the dimensions around a sliced one together as if it were whole, and reads the wrong elements
(a slice of dimension 3 of [2, 32, 4, 2, 16]). So each dimension is sliced by itself, with what is outside of it
as rows and what is inside as columns; a stride is a slice of the dimension cut into pieces as long as it.
Concatenations of inner dimensions, which overflow its buffers, are treated alike.
"""

import math

import numpy as np

from tpu_npu_backends.ascend.compiler.graph import Function, Node, Value


def rewrite(function: Function) -> None:
    """Replace a function's slices and concatenations in place."""
    nodes: list[Node] = []
    for node in function.nodes:
        if node.kind == "slice":
            nodes += _Slice(node).nodes
        elif node.kind == "concatenate" and node.facts["dimension"] < len(node.results[0].shape) - 1:
            nodes += _columns_joined(node)
        else:
            nodes.append(node)
    function.nodes = nodes


class _Slice:
    """The nodes of one slice."""

    def __init__(self, node: Node):
        self.nodes: list[Node] = []
        self._location = node.location
        (result,) = node.results
        value = node.operands[0]
        for dimension, facts in enumerate(
            zip(node.facts["offsets"], node.facts["sizes"], node.facts["strides"], strict=True)
        ):
            value = self._along(value, dimension, *facts)
        last = self._add("reshape", [value], {}, result.shape)
        last.node.results = [result]
        result.node = last.node

    def _add(self, kind: str, operands: list[Value], facts: dict, shape: tuple[int, ...]) -> Value:
        node = Node(kind, operands, facts, location=self._location)
        made = Value(tuple(shape), operands[0].dtype, node)
        node.results = [made]
        self.nodes.append(node)
        return made

    def _along(self, value: Value, dimension: int, offset: int, size: int, stride: int) -> Value:
        shape = value.shape
        if size == shape[dimension] and stride == 1:
            return value
        outer, inner = math.prod(shape[:dimension]), math.prod(shape[dimension + 1 :])
        stride = stride if size > 1 else 1
        end = offset + size * stride
        if end > shape[dimension]:  # the last piece is not whole
            value = self._pad(value, outer, shape[dimension] * inner, end * inner)
        columns = math.prod(value.shape) // outer
        value = self._columns(value, outer, columns, offset * inner, end * inner)
        if stride > 1:
            value = self._columns(value, outer * size, stride * inner, 0, inner)
        return self._add("reshape", [value], {}, (*shape[:dimension], size, *shape[dimension + 1 :]))

    def _columns(self, value: Value, rows: int, columns: int, first: int, end: int) -> Value:
        if (first, end) == (0, columns):
            return value
        matrix = self._add("reshape", [value], {}, (rows, columns))
        facts = {"offsets": [0, first], "sizes": [rows, end - first], "strides": [1, 1]}
        return self._add("slice", [matrix], facts, (rows, end - first))

    def _pad(self, value: Value, rows: int, columns: int, wanted: int) -> Value:
        matrix = self._add("reshape", [value], {}, (rows, columns))
        filler = Value((), value.dtype, constant=np.zeros((), value.numpy))
        node = self._add("pad", [matrix], {"low": [0, 0], "high": [0, wanted - columns]}, (rows, wanted))
        node.node.operands.append(filler)
        return node


def _columns_joined(node: Node) -> list[Node]:
    """A concatenation as one of matrices' columns."""
    dimension, (result,) = node.facts["dimension"], node.results
    rows = math.prod(result.shape[:dimension])
    nodes, matrices = [], []
    for operand in node.operands:
        reshaped = Node("reshape", [operand], {}, location=node.location)
        matrices.append(Value((rows, operand.size // rows), operand.dtype, reshaped))
        reshaped.results = [matrices[-1]]
        nodes.append(reshaped)
    joined = Node("concatenate", matrices, {"dimension": 1}, location=node.location)
    joined.results = [Value((rows, result.size // rows), result.dtype, joined)]
    back = Node("reshape", joined.results, {}, [result], node.location)
    result.node = back
    return [*nodes, joined, back]
