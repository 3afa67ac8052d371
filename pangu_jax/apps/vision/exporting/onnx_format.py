"""ONNX: a graph of few and plain operations, which onnxruntime and most devices know.

jax2onnx is not taken: it makes twice as many operations, half of them to find out shapes; see
docs/exporting.md.
"""

from typing import Any

import numpy as np
from jax.extend.core import ClosedJaxpr, JaxprEqn

from pangu_jax.apps.vision.exporting.op_writer import OpWriter, Shape, WrittenValue
from pangu_jax.apps.vision.exporting.plain_program import shape_of

OPSET = 20  # the first with Gelu
IR = 10
LAST = 2**63 - 1


class OnnxWriter(OpWriter):
    """A plain program as nodes and initializers."""

    format = "onnx"

    def __init__(self) -> None:
        import onnx

        self._onnx = onnx
        self.nodes: list[Any] = []
        self.initializers: dict[str, Any] = {}
        self._kept: dict[tuple[str, Shape, bytes], str] = {}

    def model(self, closed: ClosedJaxpr, input: str, output: str) -> Any:
        """An `onnx.ModelProto` with one input and one output.

        Args:
          closed: a plain program of one array, traced.
          input: name of the argument.
          output: name of the result.
        """
        helper = self._onnx.helper
        (made,) = self.write(closed, [input])
        self.nodes.append(helper.make_node("Identity", [made.handle], [output]))
        (given,), (found,) = closed.in_avals, closed.out_avals
        ends = [
            helper.make_tensor_value_info(name, _kind(self._onnx, aval.dtype), [*map(_size, aval.shape)])
            for name, aval in ((input, given), (output, found))
        ]
        read = {name for node in self.nodes for name in node.input}
        weights = [weight for name, weight in self.initializers.items() if name in read]
        graph = helper.make_graph(self.nodes, "model", ends[:1], ends[1:], weights)
        opsets = [helper.make_opsetid("", OPSET)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=IR, producer_name="pangu_jax")

    def _constant(self, array: np.ndarray) -> WrittenValue:
        key = array.dtype.str, array.shape, array.tobytes()
        if key not in self._kept:
            self._kept[key] = name = f"w{len(self._kept)}"
            self.initializers[name] = self._onnx.numpy_helper.from_array(np.ascontiguousarray(array), name)
            self.initializers[name].dims[:] = array.shape  # a scalar has none
        return WrittenValue(self._kept[key], array.shape, array.shape)

    def _node(self, kind: str, *inputs: str, **attributes: Any) -> str:
        name = f"v{len(self.nodes)}"
        self.nodes.append(self._onnx.helper.make_node(kind, [*inputs], [name], **attributes))
        return name

    def _numbers(self, *values: int) -> str:
        return self._constant(np.asarray(values, np.int64)).handle

    def _reshaped(self, handle: str, shape: list[int]) -> str:
        return self._node("Reshape", handle, self._numbers(*shape))

    def _expanded(self, handle: str, sizes: list[int | None]) -> str:
        if None in sizes:
            batch = self._node("Shape", self._argument.handle, start=0, end=1)
            parts = [batch if size is None else self._numbers(size) for size in sizes]
            return self._node("Expand", handle, self._node("Concat", *parts, axis=0))
        return self._node("Expand", handle, self._numbers(*(size or 0 for size in sizes)))

    def _transpose(self, equation: JaxprEqn, x: WrittenValue) -> str:
        return self._node("Transpose", self.whole(x).handle, perm=list(equation.params["permutation"]))

    def _dot_general(self, equation: JaxprEqn, left: WrittenValue, right: WrittenValue) -> str:
        del equation
        return self._node("MatMul", self.whole(left).handle, self.whole(right).handle)

    def _concatenate(self, equation: JaxprEqn, *parts: WrittenValue) -> str:
        handles = [self.whole(part).handle for part in parts]
        return self._node("Concat", *handles, axis=int(equation.params["dimension"]))

    def _split(self, equation: JaxprEqn, x: WrittenValue) -> list[WrittenValue]:
        axis, sizes = equation.params["axis"], equation.params["sizes"]
        names = [f"v{len(self.nodes)}_{part}" for part in range(len(sizes))]
        inputs = [self.whole(x).handle, self._numbers(*sizes)]
        self.nodes.append(self._onnx.helper.make_node("Split", inputs, names, axis=int(axis)))
        shapes = map(shape_of, equation.outvars)
        return [WrittenValue(name, shape, shape) for name, shape in zip(names, shapes, strict=True)]

    def _slice(self, equation: JaxprEqn, x: WrittenValue) -> str:
        params = equation.params
        strides = params["strides"] or [1] * len(x.meant)
        stops = [stop if isinstance(stop, int) else LAST for stop in params["limit_indices"]]
        parts = [
            self._numbers(*part) for part in (params["start_indices"], stops, range(len(stops)), strides)
        ]
        return self._node("Slice", self.whole(x).handle, *parts)

    def _convert_element_type(self, equation: JaxprEqn, x: WrittenValue) -> str:
        return self._node("Cast", x.handle, to=_kind(self._onnx, equation.params["new_dtype"]))

    def _select_n(self, equation: JaxprEqn, which: WrittenValue, *cases: WrittenValue) -> str:
        del equation
        where_false, where_true = cases
        return self._node("Where", which.handle, where_true.handle, where_false.handle)

    def _rsqrt(self, equation: JaxprEqn, x: WrittenValue) -> str:
        del equation
        return self._node("Reciprocal", self._node("Sqrt", x.handle))

    def _square(self, equation: JaxprEqn, x: WrittenValue) -> str:
        del equation
        return self._node("Mul", x.handle, x.handle)

    def _integer_pow(self, equation: JaxprEqn, x: WrittenValue) -> str:
        power = self._constant(np.asarray(equation.params["y"], np.float32))
        return self._node("Pow", x.handle, power.handle)

    def _erfc(self, equation: JaxprEqn, x: WrittenValue) -> str:
        del equation
        one = self._constant(np.asarray(1, np.float32)).handle
        return self._node("Sub", one, self._node("Erf", x.handle))

    def _gelu(self, x: WrittenValue) -> str:
        return self._node("Gelu", x.handle)

    def _reduced(self, kind: str, equation: JaxprEqn, x: WrittenValue) -> str:
        axes = self._numbers(*map(int, equation.params["axes"]))
        return self._node(kind, self.whole(x).handle, axes, keepdims=0)

    def _reduce_sum(self, equation: JaxprEqn, x: WrittenValue) -> str:
        return self._reduced("ReduceSum", equation, x)

    def _reduce_max(self, equation: JaxprEqn, x: WrittenValue) -> str:
        return self._reduced("ReduceMax", equation, x)


def _same(kind: str) -> Any:
    """An operation that both have under one name or another, of any arguments."""

    def write(self: OnnxWriter, equation: JaxprEqn, *args: WrittenValue) -> str:
        del equation
        return self._node(kind, *(arg.handle for arg in args))

    return write


SAME = {
    **{"add": "Add", "sub": "Sub", "mul": "Mul", "div": "Div", "neg": "Neg", "max": "Max", "min": "Min"},
    **{"exp": "Exp", "log": "Log", "tanh": "Tanh", "sqrt": "Sqrt", "erf": "Erf", "logistic": "Sigmoid"},
    **{"abs": "Abs", "sign": "Sign", "floor": "Floor"},
}
for _name, _kind_of_node in SAME.items():
    setattr(OnnxWriter, f"_{_name}", _same(_kind_of_node))


def _kind(onnx: Any, dtype: Any) -> int:
    return onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype))


def _size(size: Any) -> int | str:
    return size if isinstance(size, int) else str(size)
