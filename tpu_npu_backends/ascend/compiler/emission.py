"""Kernels as text that bishengir-compile takes: one DEVICE function of tensor-level arith, math and linalg.

Dimensions of one are left out, so that a reshape which only adds or drops some is nothing inside a kernel,
and kernels of elementwise ops alone work on flat tensors: layers and parameters of many shapes share one
kernel.
"""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from tpu_npu_backends.ascend.compiler import bishengir, tiled_matmul
from tpu_npu_backends.ascend.compiler.graph import Node, Value

_ATTRIBUTES = "attributes {hacc.entry, hacc.function_kind = #hacc.function_kind<DEVICE>}"
_INDENT = "    "


@dataclass(frozen=True)
class Tensor:
    """An argument or a result of a kernel: how it sees a buffer."""

    shape: tuple[int, ...]
    dtype: str

    @property
    def type(self) -> str:
        """MLIR's spelling."""
        return f"tensor<{''.join(f'{size}x' for size in self.shape)}{self.dtype}>"


@dataclass
class Emitted:
    """A kernel's text, and the values that it reads and writes, in the order of its arguments."""

    text: str
    inputs: list[tuple[Value, Tensor]]
    outputs: list[tuple[Value, Tensor]]


def squeezed(shape: Sequence[int]) -> tuple[int, ...]:
    """A shape without dimensions of one."""
    return tuple(size for size in shape if size != 1)


def base_of(value: Value) -> Value:
    """The value whose buffer a value is: a reshape makes no new one."""
    while value.node is not None and value.node.kind == "reshape":
        value = value.node.operands[0]
    return value


def emit(nodes: Sequence[Node], outputs: Collection[Value]) -> Emitted:
    """A kernel of elementwise ops and movements of data.

    Args:
      nodes: what it computes, in order.
      outputs: what of it is needed outside.
    """
    return _Writer(nodes).write(outputs)


def emit_matmul(node: Node) -> Emitted:
    """A kernel of one batched product."""
    a, b = node.operands
    (out,) = node.results
    batch, m, n = out.shape
    k = a.shape[1] if node.facts["transpose_a"] else a.shape[2]
    product = tiled_matmul.Matmul(
        batch, m, k, n, a.dtype, bool(node.facts["transpose_a"]), bool(node.facts["transpose_b"])
    )
    text = bishengir.with_flags(tiled_matmul.source(product), *tiled_matmul.FLAGS)
    inputs = [(base_of(value), Tensor(value.shape, value.dtype)) for value in (a, b)]
    return Emitted(text, inputs, [(out, Tensor(out.shape, out.dtype))])


def _function(inputs: list[Tensor], outputs: list[Tensor], lines: list[str], results: list[str]) -> str:
    arguments = ", ".join(f"%a{i}: {tensor.type}" for i, tensor in enumerate(inputs))
    types = ", ".join(tensor.type for tensor in outputs)
    body = "\n".join(_INDENT + line for line in [*lines, f"return {', '.join(results)} : {types}"])
    return f"module {{\n  func.func @main({arguments}) -> ({types}) {_ATTRIBUTES} {{\n{body}\n  }}\n}}\n"


def number(value: np.generic | np.ndarray, dtype: str) -> str:
    """A constant in MLIR's spelling."""
    if dtype == "i1":
        return "true" if value else "false"
    if dtype.startswith("i"):
        return str(int(value))
    if not np.isfinite(float(value)):
        width = value.dtype.itemsize
        return f"0x{int.from_bytes(np.asarray(value).tobytes(), 'little'):0{2 * width}X}"
    return f"{float(value):.9e}"


class _Writer:
    """Writes one kernel."""

    def __init__(self, nodes: Sequence[Node]):
        self._nodes = [node for node in nodes if node.kind != "reshape"]
        self._made = {result for node in self._nodes for result in node.results}
        self._flat = all(_flattens(node) for node in self._nodes)
        self._keeps_ones = [node.kind for node in nodes] == ["slice"]  # it must not drop dimensions
        self._names: dict[Value, str] = {}
        self._arguments: dict[tuple[Value, tuple[int, ...]], str] = {}
        self._inputs: list[tuple[Value, Tensor]] = []
        self._lines: list[str] = []
        self._count = 0

    def write(self, outputs: Collection[Value]) -> Emitted:
        for node in self._nodes:
            self._write_node(node)
        kept = [value for node in self._nodes for value in node.results if value in outputs]
        results = [(value, Tensor(self._shape(value), value.dtype)) for value in kept]
        text = _function(
            [tensor for _, tensor in self._inputs],
            [tensor for _, tensor in results],
            self._lines,
            [self._names[value] for value in kept],
        )
        return Emitted(text, self._inputs, results)

    def _shape(self, value: Value) -> tuple[int, ...]:
        if self._flat:
            return (value.size,) if value.size != 1 else ()
        return value.shape if self._keeps_ones else squeezed(value.shape)

    def _type(self, value: Value) -> str:
        return Tensor(self._shape(value), value.dtype).type

    def _line(self, text: str) -> str:
        name = f"%v{self._count}"
        self._count += 1
        self._lines.append(f"{name} = {text}")
        return name

    def _operand(self, value: Value, shape: tuple[int, ...] | None = None) -> str:
        """The name of an operand; one from outside becomes an argument, in the shape that is asked for."""
        if value.constant is not None and value.constant.ndim == 0:
            kind = Tensor(self._shape(value) if shape is None else shape, value.dtype).type
            return self._line(f"arith.constant dense<{number(value.constant, value.dtype)}> : {kind}")
        base = base_of(value)
        if base in self._names and (shape is None or shape == self._shape(base)):
            return self._names[base]
        seen = self._shape(value) if shape is None else shape
        key = (base, seen)
        if key not in self._arguments:
            self._arguments[key] = f"%a{len(self._inputs)}"
            self._inputs.append((base, Tensor(seen, base.dtype)))
        return self._arguments[key]

    def _empty(self, value: Value) -> str:
        return self._line(f"tensor.empty() : {self._type(value)}")

    def _write_node(self, node: Node) -> None:
        (result,) = node.results
        if node.elementwise:
            operands = [self._operand(operand) for operand in node.operands]
            types = ", ".join(self._type(operand) for operand in node.operands)
            extra = f" <{{predicate = {node.facts['predicate']} : i64}}>" if "predicate" in node.facts else ""
            written = f'"{node.kind}"({", ".join(operands)}){extra} : ({types}) -> {self._type(result)}'
            self._names[result] = self._line(written)
        else:
            self._names[result] = getattr(self, f"_{node.kind}")(node, result)

    def _broadcast(self, node: Node, result: Value) -> str:
        (operand,) = node.operands
        places = {d for d, size in zip(node.facts["dimensions"], operand.shape, strict=True) if size != 1}
        wide = [d for d, size in enumerate(result.shape) if size != 1]
        added = [i for i, d in enumerate(wide) if d not in places]
        if self._flat:
            added = [0]
        source, empty = self._operand(operand), self._empty(result)
        return self._line(
            f"linalg.broadcast ins({source} : {self._type(operand)}) outs({empty} : {self._type(result)}) "
            f"dimensions = {added}"
        )

    def _reduce(self, node: Node, result: Value) -> str:
        operand, start = node.operands
        wide = [d for d, size in enumerate(operand.shape) if size != 1]
        dimensions = [i for i, d in enumerate(wide) if d in node.facts["dimensions"]]
        source = self._operand(operand)
        scalar = self._line(f"arith.constant {number(start.known, start.dtype)} : {start.dtype}")
        kind = self._type(result)
        filled = self._line(
            f"linalg.fill ins({scalar} : {start.dtype}) outs({self._empty(result)} : {kind}) -> {kind}"
        )
        return self._line(
            f"linalg.reduce {{ {node.facts['combiner']} }} ins({source} : {self._type(operand)}) "
            f"outs({filled} : {kind}) dimensions = {dimensions}"
        )

    def _transpose(self, node: Node, result: Value) -> str:
        (operand,) = node.operands
        wide = [d for d, size in enumerate(operand.shape) if size != 1]
        order = [wide.index(d) for d in node.facts["permutation"] if d in wide]
        source, empty = self._operand(operand), self._empty(result)
        return self._line(
            f"linalg.transpose ins({source} : {self._type(operand)}) outs({empty} : {self._type(result)}) "
            f"permutation = {order}"
        )

    def _window(self, node: Node, whole: Value) -> str:
        wide = [d for d, size in enumerate(whole.shape) if size != 1 or self._keeps_ones]
        facts = [[node.facts[name][d] for d in wide] for name in ("offsets", "sizes", "strides")]
        return " ".join(str(each) for each in facts)

    def _slice(self, node: Node, result: Value) -> str:
        (operand,) = node.operands
        source = self._operand(operand)
        return self._line(
            f"tensor.extract_slice {source}{self._window(node, operand)} : {self._type(operand)} "
            f"to {self._type(result)}"
        )

    def _insert(self, node: Node, result: Value) -> str:
        small, large = node.operands
        source, target = self._operand(small), self._operand(large)
        return self._line(
            f"tensor.insert_slice {source} into {target}{self._window(node, large)} : {self._type(small)} "
            f"into {self._type(large)}"
        )

    def _concatenate(self, node: Node, result: Value) -> str:
        dimension = node.facts["dimension"]
        wide = [d for d, size in enumerate(result.shape) if size != 1]
        sources, types = [], []
        for operand in node.operands:
            shape = tuple(operand.shape[d] for d in wide)
            sources.append(self._operand(operand, shape))
            types.append(Tensor(shape, operand.dtype).type)
        return self._line(
            f"tensor.concat dim({wide.index(dimension)}) {', '.join(sources)} : ({', '.join(types)}) "
            f"-> {self._type(result)}"
        )

    def _pad(self, node: Node, result: Value) -> str:
        operand, filler = node.operands
        wide = [d for d, size in enumerate(result.shape) if size != 1]
        shape = tuple(operand.shape[d] for d in wide)
        low, high = ([node.facts[name][d] for d in wide] for name in ("low", "high"))
        source = self._operand(operand, shape)
        value = self._line(f"arith.constant {number(filler.known, filler.dtype)} : {filler.dtype}")
        places = ", ".join(f"%i{d}: index" for d in range(len(wide)))
        return self._line(
            f"tensor.pad {source} low{low} high{high} {{\n{_INDENT}^bb0({places}):\n"
            f"{_INDENT}  tensor.yield {value} : {filler.dtype}\n{_INDENT}}} : "
            f"{Tensor(shape, operand.dtype).type} to {self._type(result)}"
        )


def _flattens(node: Node) -> bool:
    """Whether a node does the same on flat tensors."""
    if node.kind == "broadcast":
        return node.operands[0].size == 1
    sizes = {math.prod(value.shape) for value in (*node.operands, *node.results)}
    return node.elementwise and len(sizes) == 1
