"""Weights of a LiteRT flatbuffer in 8 bits, turned back by an operation of their own before they are used.

TensorFlow's converter folds such an operation away, and its own quantisation rounds what goes in as well.
"""

from typing import Any

import numpy as np

from pangu_jax.apps.vision.exporting import int8_weights


def rounded(flatbuffer: bytes) -> bytes:
    """The same model with what `int8_weights` makes of each product's weight.

    Args:
      flatbuffer: of `litert_format.converted`, with weights of fp32.
    """
    from ai_edge_litert import schema_py_generated as schema
    from ai_edge_litert.tools import flatbuffer_utils as files

    model: Any = files.convert_bytearray_to_object(bytearray(flatbuffer))
    (graph,) = model.subgraphs
    product = schema.BuiltinOperator.FULLY_CONNECTED
    products = [op for op in graph.operators if model.operatorCodes[op.opcodeIndex].builtinCode == product]
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.DEQUANTIZE
    code.version = 5  # the first that knows scales per channel
    model.operatorCodes.append(code)
    first = []
    for number in dict.fromkeys(int(op.inputs[1]) for op in products):
        tensor = graph.tensors[number]
        kept = model.buffers[tensor.buffer]
        if kept.data is None or tensor.type != schema.TensorType.FLOAT32:
            continue
        weight_NxK = np.frombuffer(bytes(bytearray(kept.data)), np.float32).reshape(tensor.shape)
        if weight_NxK.size < int8_weights.LEAST:
            continue
        values, scale = int8_weights.rounded(weight_NxK, 1)
        graph.tensors.append(_tensor(schema, tensor, values.shape, scale, len(model.buffers)))
        stored = schema.BufferT()
        stored.data = np.frombuffer(values.tobytes(), np.uint8)
        model.buffers.append(stored)
        tensor.buffer = 0  # what is computed has none
        kept.data = None
        op = schema.OperatorT()
        op.opcodeIndex = len(model.operatorCodes) - 1
        op.inputs, op.outputs = [len(graph.tensors) - 1], [number]
        op.builtinOptionsType = schema.BuiltinOptions.DequantizeOptions
        op.builtinOptions = schema.DequantizeOptionsT()
        first.append(op)
    graph.operators = [*first, *graph.operators]
    ends = {*map(int, graph.inputs), *map(int, graph.outputs)}
    for number, tensor in enumerate(graph.tensors):
        if number not in ends:  # a tenth of the file is what nothing reads
            tensor.name = None
        if tensor.quantization is not None and tensor.quantization.scale is None:
            tensor.quantization = None
    return bytes(files.convert_object_to_bytearray(model))


def _tensor(schema: Any, of: Any, shape: tuple[int, ...], scale: np.ndarray, buffer: int) -> Any:
    made = schema.TensorT()
    made.name, made.shape, made.type, made.buffer = of.name, list(shape), schema.TensorType.INT8, buffer
    made.quantization = schema.QuantizationParametersT()
    made.quantization.scale = scale.ravel().tolist()
    made.quantization.zeroPoint = [0] * scale.size  # eight bytes each; the interpreter wants them all
    made.quantization.quantizedDimension = 0
    return made
