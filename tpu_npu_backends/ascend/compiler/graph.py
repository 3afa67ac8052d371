"""A function of lowered MLIR as a graph: few kinds of nodes, static shapes, facts that JSON can hold.

Kinds are names of arith and math ops (elementwise), and: "broadcast", "reshape", "reduce", "transpose",
"slice", "concatenate", "pad", "insert" (tensor-level data movement); "matmul", "loop", "branch", "slice_at",
"update_at" (calls that `rewriting.call_of_kind` made); "host" (what only NumPy does).
"""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import ml_dtypes
import numpy as np
from jaxlib.mlir import ir

from tpu_npu_backends.ascend.compiler.rewriting import KIND, callee_of, facts_of, name_of
from tpu_npu_backends.errors import BackendError

DTYPES: dict[str, np.dtype] = {
    "f32": np.dtype(np.float32),
    "f16": np.dtype(np.float16),
    "bf16": np.dtype(ml_dtypes.bfloat16),
    "f64": np.dtype(np.float64),
    "i1": np.dtype(np.bool_),
    "i8": np.dtype(np.int8),
    "i16": np.dtype(np.int16),
    "i32": np.dtype(np.int32),
    "i64": np.dtype(np.int64),
}
MOVES = ("broadcast", "reshape", "reduce", "transpose", "slice", "concatenate", "pad", "insert")
CALLS = ("matmul", "loop", "branch", "slice_at", "update_at", "host")


@dataclass(eq=False)
class Value:
    """A tensor: an argument, a constant, or what a node makes.

    Attributes:
      shape: sizes.
      dtype: MLIR's name of the element type.
      node: what makes it; None for arguments and constants.
      constant: of a constant: its values, or a scalar array that stands for all of them.
    """

    shape: tuple[int, ...]
    dtype: str
    node: "Node | None" = None
    constant: np.ndarray | None = None

    @property
    def size(self) -> int:
        """Elements."""
        return math.prod(self.shape)

    @property
    def numpy(self) -> np.dtype:
        """Its type in NumPy."""
        return DTYPES[self.dtype]

    @property
    def bytes(self) -> int:
        """Bytes, a boolean taking one."""
        return self.size * DTYPES[self.dtype].itemsize

    @property
    def known(self) -> np.ndarray:
        """A constant's values, or the scalar array that stands for all of them."""
        if self.constant is None:
            raise ValueError("not a constant")
        return self.constant

    def array(self) -> np.ndarray:
        """A constant's values in full."""
        return np.broadcast_to(self.known, self.shape)


@dataclass(eq=False)
class Node:
    """An op.

    Attributes:
      kind: see the module.
      operands: what it reads.
      facts: what else it needs, as JSON knows it.
      results: what it makes.
      location: where it came from, in MLIR's words.
    """

    kind: str
    operands: list[Value]
    facts: dict[str, Any]
    results: list[Value] = field(default_factory=list)
    location: Any = None

    @property
    def elementwise(self) -> bool:
        """Whether it works on each place by itself."""
        return self.kind not in MOVES and self.kind not in CALLS

    @property
    def flops(self) -> int:
        """Operations on numbers: a product's multiplications and additions, an element's one, a sum's."""
        if self.kind == "matmul":
            return 0 if self.facts["added"] else self.facts["flops"]
        if self.kind == "reduce":
            return self.operands[0].size
        return self.results[0].size if self.elementwise else 0

    def source(self) -> str | None:
        """File and line of the JAX program, where MLIR carries them."""
        return source_of(self.location)


@dataclass(eq=False)
class Function:
    """Nodes in an order in which they can run."""

    name: str
    arguments: list[Value]
    nodes: list[Node]
    results: list[Value]


def source_of(location: Any) -> str | None:
    """The first line of a Python file in a location that is not JAX's own."""
    for path, line in re.findall(r'"([^"]+\.py)":(\d+)', str(location)):
        if not re.search(r"[/\\](jax|jaxlib|flax|optax)[/\\]", path):
            return f"{path}:{line}"
    named = re.search(r'loc\("([^"]+)"', str(location))
    return named.group(1) if named and not named.group(1).startswith("-") else None


def unsupported(name: str, location: Any, why: str = "") -> BackendError:
    """The error of an op that neither a kernel nor NumPy computes."""
    where = source_of(location)
    return BackendError(
        f"unsupported op {name}{f' ({where})' if where else ''}: the Ascend compiler has no kernel for it"
        f"{f', {why}' if why else ''}; compute it outside of the jitted program"
    )


def functions_of(module: ir.Module) -> dict[str, Function]:
    """Every function with a body, by name."""
    operations = [op.operation for op in module.body.operations]
    declared = {name_of(op): facts_of(op) for op in operations if KIND in op.attributes}
    return {
        name_of(op): _Reader(declared).read(op)
        for op in operations
        if op.name == "func.func" and name_of(op) not in declared
    }


class _Reader:
    """Reads one function."""

    def __init__(self, declared: dict[str, dict[str, Any]]):
        self._declared = declared
        self._values: dict[ir.Value, Value] = {}
        self._nodes: list[Node] = []

    def read(self, function: ir.Operation) -> Function:
        block = function.regions[0].blocks[0]
        arguments = [self._new(argument) for argument in block.arguments]
        results: list[Value] = []
        for op in block.operations:
            op = op.operation
            if op.name == "func.return":
                results = [self._values[operand] for operand in op.operands]
            else:
                self._read_op(op)
        return Function(name_of(function), arguments, self._nodes, results)

    def _new(self, value: ir.Value, node: Node | None = None) -> Value:
        if isinstance(value.type, ir.RankedTensorType):
            kind = ir.RankedTensorType(value.type)
            made = Value(tuple(kind.shape), str(kind.element_type), node)
        else:  # a scalar of a region: a tensor of no dimensions
            made = Value((), str(value.type), node)
        if made.dtype not in DTYPES:
            where = source_of(node.location) if node else None
            raise BackendError(
                f"unsupported type {made.dtype} of {node.kind if node else 'an argument'}"
                f"{f' ({where})' if where else ''}: "
                "Ascend kernels have floats to 32 bits and integers; cast it"
            )
        self._values[value] = made
        return made

    def _constant(self, op: ir.Operation, values: np.ndarray) -> None:
        made = self._new(op.results[0])
        made.constant = values

    def _add(self, op: ir.Operation, kind: str, operands: list[Value], facts: dict[str, Any] | None = None):
        node = Node(kind, operands, facts or {}, location=op.location)
        node.results = [self._new(result, node) for result in op.results]
        self._nodes.append(node)

    def _read_op(self, op: ir.Operation) -> None:
        name, values = op.name, self._values
        if name == "arith.constant":
            self._constant(op, _array_of(op))
        elif name == "tensor.empty":
            self._constant(
                op, np.zeros((), DTYPES[str(ir.RankedTensorType(op.results[0].type).element_type)])
            )
        elif name == "linalg.fill":
            self._constant(op, values[op.operands[0]].known)
        elif name == "func.call":
            facts = dict(self._declared[callee_of(op)])
            self._add(op, facts.pop("kind"), [values[operand] for operand in op.operands], facts)
        elif name in _READERS:
            _READERS[name](self, op)
        elif name.partition(".")[0] in ("arith", "math"):
            facts = {}
            if "predicate" in op.attributes:
                facts["predicate"] = ir.IntegerAttr(op.attributes["predicate"]).value
            self._add(op, name, [values[operand] for operand in op.operands], facts)
        else:
            raise unsupported(name, op.location)

    def _broadcast(self, op: ir.Operation) -> None:
        added = list(ir.DenseI64ArrayAttr(op.attributes["dimensions"]))
        operand = self._values[op.operands[0]]
        rank = len(operand.shape) + len(added)
        kept = [d for d in range(rank) if d not in added]
        self._add(op, "broadcast", [operand], {"dimensions": kept})

    def _reduce(self, op: ir.Operation) -> None:
        inner = [each.operation for each in op.regions[0].blocks[0].operations]
        if len(op.operands) != 2 or len(inner) != 2:
            raise unsupported("stablehlo.reduce of several operands or ops", op.location)
        operand, start = (self._values[operand] for operand in op.operands)
        facts = {
            "combiner": inner[0].name,
            "dimensions": list(ir.DenseI64ArrayAttr(op.attributes["dimensions"])),
        }
        self._add(op, "reduce", [operand, start], facts)

    def _transpose(self, op: ir.Operation) -> None:
        permutation = list(ir.DenseI64ArrayAttr(op.attributes["permutation"]))
        self._add(op, "transpose", [self._values[op.operands[0]]], {"permutation": permutation})

    def _reshape(self, op: ir.Operation) -> None:
        self._add(op, "reshape", [self._values[op.operands[0]]])

    def _slice(self, op: ir.Operation) -> None:
        facts = {
            name: list(ir.DenseI64ArrayAttr(op.attributes[f"static_{name}"]))
            for name in ("offsets", "sizes", "strides")
        }
        kind = "slice" if op.name == "tensor.extract_slice" else "insert"
        self._add(op, kind, [self._values[operand] for operand in op.operands], facts)

    def _concatenate(self, op: ir.Operation) -> None:
        dimension = ir.IntegerAttr(op.attributes["dim"]).value
        self._add(op, "concatenate", [self._values[each] for each in op.operands], {"dimension": dimension})

    def _pad(self, op: ir.Operation) -> None:
        yielded = list(op.regions[0].blocks[0].operations)[-1].operation.operands[0]
        facts = {
            name: list(ir.DenseI64ArrayAttr(op.attributes[f"static_{name}"])) for name in ("low", "high")
        }
        if yielded not in self._values:
            inner = yielded.owner.operation
            self._values[yielded] = Value((), str(yielded.type), constant=_array_of(inner))
        self._add(op, "pad", [self._values[op.operands[0]], self._values[yielded]], facts)

    def _extract(self, op: ir.Operation) -> None:
        """A scalar of a tensor of no dimensions: the same value here."""
        self._values[op.results[0]] = self._values[op.operands[0]]


_READERS = {
    "linalg.broadcast": _Reader._broadcast,
    "linalg.reduce": _Reader._reduce,
    "linalg.transpose": _Reader._transpose,
    "tensor.collapse_shape": _Reader._reshape,
    "tensor.expand_shape": _Reader._reshape,
    "tensor.reshape": _Reader._reshape,
    "tensor.extract_slice": _Reader._slice,
    "tensor.insert_slice": _Reader._slice,
    "tensor.concat": _Reader._concatenate,
    "tensor.pad": _Reader._pad,
    "tensor.extract": _Reader._extract,
    "tensor.splat": lambda reader, op: reader._add(
        op, "broadcast", [reader._values[op.operands[0]]], {"dimensions": []}
    ),
}


def _array_of(op: ir.Operation) -> np.ndarray:
    """The values of an arith.constant; a scalar where all are the same."""
    attribute, kind = op.attributes["value"], op.results[0].type
    if not isinstance(kind, ir.RankedTensorType):
        return np.array(_number(attribute), DTYPES[str(kind)])
    dtype = DTYPES[str(kind.element_type)]
    dense = ir.DenseElementsAttr(attribute)
    if dense.is_splat:
        return np.array(_number(dense.get_splat_value()), dtype)
    if dtype == np.bool_:
        bits = ir.DenseIntElementsAttr(attribute)
        return np.array([bool(bits[i]) for i in range(len(bits))]).reshape(kind.shape)
    if str(kind.element_type) == "bf16":
        floats = ir.DenseFPElementsAttr(attribute)
        return np.array([floats[i] for i in range(len(floats))], dtype).reshape(kind.shape)
    return np.array(dense).astype(dtype).reshape(kind.shape)


def _number(attribute: ir.Attribute) -> int | float | bool:
    if not isinstance(attribute, ir.IntegerAttr | ir.FloatAttr | ir.BoolAttr):
        raise TypeError(f"{attribute} is no number")
    return attribute.value


def live_nodes(function: Function) -> Iterator[Node]:
    """The nodes that results need, in order."""
    needed = {id(value.node) for value in function.results if value.node}
    kept = []
    for node in reversed(function.nodes):
        if id(node) in needed:
            kept.append(node)
            needed.update(id(operand.node) for operand in node.operands if operand.node)
    yield from reversed(kept)
