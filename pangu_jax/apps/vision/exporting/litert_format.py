"""LiteRT (TensorFlow Lite): a flatbuffer for phones and boards, made by TensorFlow's own converter.

The program is written in TensorFlow's operations: by way of StableHLO (`jax2tf`) the converter takes one
batch size alone, for it has no slice of an array whose size is not known (TensorFlow 2.21.0).
"""

from typing import Any

import numpy as np
from jax.extend.core import ClosedJaxpr, JaxprEqn

from pangu_jax.apps.vision.exporting.op_writer import OpWriter, WrittenValue
from pangu_jax.errors import UserError


class TensorFlowWriter(OpWriter):
    """A plain program as operations of TensorFlow that LiteRT has too."""

    format = "litert"

    def __init__(self) -> None:
        import tensorflow as tf

        self._tf = tf

    def _constant(self, array: np.ndarray) -> WrittenValue:
        return WrittenValue(self._tf.constant(array), array.shape, array.shape)

    def _reshaped(self, handle: Any, shape: list[int]) -> Any:
        return self._tf.reshape(handle, shape)

    def _expanded(self, handle: Any, sizes: list[int | None]) -> Any:
        batch = self._tf.shape(self._argument.handle)[0]
        return self._tf.broadcast_to(handle, [batch if size is None else size for size in sizes])

    def _gelu(self, x: WrittenValue) -> Any:
        return self._tf.nn.gelu(x.handle, approximate=False)

    def _transpose(self, equation: JaxprEqn, x: WrittenValue) -> Any:
        return self._tf.transpose(self.whole(x).handle, list(equation.params["permutation"]))

    def _dot_general(self, equation: JaxprEqn, left: WrittenValue, right: WrittenValue) -> Any:
        del equation
        return self._tf.matmul(self.whole(left).handle, self.whole(right).handle)

    def _concatenate(self, equation: JaxprEqn, *parts: WrittenValue) -> Any:
        handles = [self.whole(part).handle for part in parts]
        return self._tf.concat(handles, int(equation.params["dimension"]))

    def _split(self, equation: JaxprEqn, x: WrittenValue) -> list[Any]:
        sizes, axis = [int(size) for size in equation.params["sizes"]], int(equation.params["axis"])
        return self._tf.split(self.whole(x).handle, sizes, axis)

    def _slice(self, equation: JaxprEqn, x: WrittenValue) -> Any:
        params = equation.params
        strides = params["strides"] or [1] * len(x.meant)
        cuts = zip(params["start_indices"], params["limit_indices"], strides, strict=True)
        cut = [slice(int(at), to if isinstance(to, int) else None, int(by)) for at, to, by in cuts]
        return self.whole(x).handle[tuple(cut)]

    def _convert_element_type(self, equation: JaxprEqn, x: WrittenValue) -> Any:
        return self._tf.cast(x.handle, np.dtype(equation.params["new_dtype"]))

    def _select_n(self, equation: JaxprEqn, which: WrittenValue, *cases: WrittenValue) -> Any:
        del equation
        where_false, where_true = cases
        return self._tf.where(which.handle, where_true.handle, where_false.handle)

    def _integer_pow(self, equation: JaxprEqn, x: WrittenValue) -> Any:
        return self._tf.pow(x.handle, float(equation.params["y"]))

    def _reduce_sum(self, equation: JaxprEqn, x: WrittenValue) -> Any:
        return self._tf.reduce_sum(self.whole(x).handle, [*map(int, equation.params["axes"])])

    def _reduce_max(self, equation: JaxprEqn, x: WrittenValue) -> Any:
        return self._tf.reduce_max(self.whole(x).handle, [*map(int, equation.params["axes"])])


def _same(name: str) -> Any:
    def write(self: TensorFlowWriter, equation: JaxprEqn, *args: WrittenValue) -> Any:
        del equation
        return getattr(self._tf.math, name)(*(arg.handle for arg in args))

    return write


SAME = {
    **{"add": "add", "sub": "subtract", "mul": "multiply", "div": "divide", "neg": "negative"},
    **{"max": "maximum", "min": "minimum", "exp": "exp", "log": "log", "tanh": "tanh", "sqrt": "sqrt"},
    **{"rsqrt": "rsqrt", "square": "square", "logistic": "sigmoid", "abs": "abs", "sign": "sign"},
}
for _name, _theirs in SAME.items():
    setattr(TensorFlowWriter, f"_{_name}", _same(_theirs))


def converted(closed: ClosedJaxpr, input: str, output: str) -> bytes:
    """A flatbuffer with one input and one output, of LiteRT's own operations alone.

    Args:
      closed: a plain program of one array, traced.
      input: name of the argument.
      output: name of the result.

    Raises:
      UserError: LiteRT lacks an operation.
    """
    import tensorflow as tf

    writer = TensorFlowWriter()
    (given,) = closed.in_avals
    sizes = [size if isinstance(size, int) else None for size in given.shape]

    class Model(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec(sizes, given.dtype, name=input)], autograph=False)
        def __call__(self, x):
            (made,) = writer.write(closed, [x])
            return {output: made.handle}

    model = Model()
    concrete = model.__call__.get_concrete_function()
    converter = tf.lite.TFLiteConverter.from_concrete_functions([concrete], model)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    try:
        return converter.convert()
    except Exception as error:
        raise UserError(f"--format litert: {str(error).splitlines()[0][:200]}; export it as onnx") from error
