"""The formats that a model is exported in: what each needs, and how it is written."""

import importlib.util
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from jax.extend.core import ClosedJaxpr

from pangu_jax.apps.vision.exporting import litert_format, litert_int8
from pangu_jax.apps.vision.exporting.exported_model import Pictures
from pangu_jax.apps.vision.exporting.onnx_format import OnnxWriter
from pangu_jax.errors import UserError

INPUT = "pixels"
PLATFORMS = ("cpu", "cuda", "tpu")  # that a StableHLO file is lowered for


class PlainProgram(NamedTuple):
    """A plain program, ready to be written.

    Attributes:
      function: uint8 [b, S, S, C] -> fp32 [b, outputs].
      in_floats: the same with weights of fp32.
      argument: the pictures, for any b.
      traced: the function, traced.
      output: name of the result.
      int8: whether weights of products have 8 bits.
    """

    function: Pictures
    in_floats: Pictures
    argument: jax.ShapeDtypeStruct
    traced: ClosedJaxpr
    output: str
    int8: bool

    @property
    def weight_bytes(self) -> int:
        """Of all numbers that it holds, as it holds them."""
        arrays = map(np.asarray, self.traced.consts)
        return sum(size for _, size in {(array.tobytes(), array.nbytes) for array in arrays})


class ExportFormat(NamedTuple):
    """How a model is written and read.

    Attributes:
      name: on the command line.
      file: what is written.
      write: a program to a path.
      runtime: packages that use the file.
      needed: modules that writing and checking it here need.
      title: its name in prose.
    """

    name: str
    file: str
    write: Callable[[PlainProgram, Path], None]
    runtime: tuple[str, ...]
    needed: tuple[str, ...]
    title: str

    def require(self) -> None:
        """UserError where a package is not installed."""
        missing = [name for name in self.needed if importlib.util.find_spec(name) is None]
        if missing:
            raise UserError(
                f"--format {self.name} needs {', '.join(missing)}: pip install 'pangu-jax[export]'"
            )

    def pinned(self) -> list[str]:
        """Its runtime as pip takes it, by the versions that are installed here."""
        return [f"{package}=={version(package)}" for package in self.runtime]


def _write_stablehlo(program: PlainProgram, path: Path) -> None:
    try:
        exported = jax.export.export(jax.jit(program.function), platforms=PLATFORMS)(program.argument)
        path.write_bytes(exported.serialize())
    except (ValueError, NotImplementedError, TypeError) as error:
        raise UserError(f"--format stablehlo: {_first_line(error)}") from error


def _write_onnx(program: PlainProgram, path: Path) -> None:
    path.write_bytes(OnnxWriter().model(program.traced, INPUT, program.output).SerializeToString())


def _write_litert(program: PlainProgram, path: Path) -> None:
    if not program.int8:
        path.write_bytes(litert_format.converted(program.traced, INPUT, program.output))
        return
    floats = jax.make_jaxpr(program.in_floats)(program.argument)
    path.write_bytes(litert_int8.rounded(litert_format.converted(floats, INPUT, program.output)))


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0][:200]


FORMATS = {
    each.name: each
    for each in (
        ExportFormat(
            "stablehlo", "model.stablehlo", _write_stablehlo, ("jax", "flatbuffers"), (), "StableHLO",
        ),
        ExportFormat("onnx", "model.onnx", _write_onnx, ("onnxruntime",), ("onnx", "onnxruntime"), "ONNX"),
        ExportFormat(
            "litert", "model.tflite", _write_litert, ("ai-edge-litert",), ("tensorflow", "ai_edge_litert"),
            "LiteRT",
        ),
    )
}  # fmt: skip
NAMES: Sequence[str] = tuple(FORMATS)
