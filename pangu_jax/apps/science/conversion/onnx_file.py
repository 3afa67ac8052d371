"""Tensors of an ONNX file: its initializers by name, and what its graph holds as constants."""

import importlib
import importlib.util
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from pangu_jax.errors import UserError


class OnnxFile:
    """Initializers of a graph, as `pangu_jax.runs.exchange.tensors.Tensors`; the file is in memory once.

    Args:
      file: the file.
      check: looks at each tensor that is read, by name.

    Attributes:
      folder: the file.
      shapes: of each.
      dtypes: of each, as safetensors names them, or ONNX's own name of one that is not read.
    Raises:
      UserError: there is none, it is damaged, or the package that reads it is not installed.
    """

    def __init__(self, file: Path, check: Callable[[str, np.ndarray], None]):
        if importlib.util.find_spec("onnx") is None:
            raise UserError("--format onnx needs onnx: pip install 'pangu-jax[export]'")
        import onnx

        undecoded = importlib.import_module("google.protobuf.message").DecodeError
        if not file.is_file() or file.suffix != ".onnx":
            raise UserError(f"{file} is no .onnx file: give one of the released ones, pangu_weather_24.onnx")
        try:
            self._graph = onnx.load(file).graph
        except (OSError, ValueError, undecoded, onnx.checker.ValidationError) as error:
            why = str(error).splitlines()[0][:80] if str(error) else type(error).__name__
            raise UserError(f"{file} is damaged or no ONNX file ({why}); copy it again") from None
        kinds = onnx.TensorProto
        known = {kinds.FLOAT: "F32", kinds.FLOAT16: "F16", kinds.BFLOAT16: "BF16"}
        self.folder, self._check = file, check
        self._stored = {one.name: one for one in self._graph.initializer}
        self.shapes = {name: tuple(one.dims) for name, one in self._stored.items()}
        self.dtypes = {
            name: known.get(one.data_type, kinds.DataType.Name(one.data_type))
            for name, one in self._stored.items()
        }

    def keep(self, names: set[str]) -> int:
        """Leave out all others; how many those are.

        Raises:
          UserError: one of those that stay is of a dtype that is not read.
        """
        others = [name for name in self.shapes if name not in names]
        for name in others:
            del self.shapes[name], self.dtypes[name]
        for name, dtype in self.dtypes.items():
            if dtype not in ("F32", "F16", "BF16"):
                raise UserError(f"{self.folder}: {name} is {dtype}; only F32, F16, BF16 are read")
        return len(others)

    def constants(self, ending: str) -> list[np.ndarray]:
        """What nodes of the graph and initializers hold under names that end so."""
        from onnx import numpy_helper

        found = [one for name, one in self._stored.items() if name.endswith(ending)]
        for node in self._graph.node:
            if node.op_type == "Constant" and any(name.endswith(ending) for name in node.output):
                found += [attribute.t for attribute in node.attribute if attribute.name == "value"]
        return [numpy_helper.to_array(one) for one in found]

    @contextmanager
    def reading(self) -> Generator[Callable[[str], np.ndarray]]:
        """A function that reads a tensor by name."""
        from onnx import numpy_helper

        def read(name: str) -> np.ndarray:
            try:
                tensor = np.asarray(numpy_helper.to_array(self._stored[name]))
            except (ValueError, TypeError) as error:
                raise UserError(f"{self.folder}: {name} is damaged ({str(error)[:80]})") from None
            self._check(name, tensor)
            return tensor

        yield read
