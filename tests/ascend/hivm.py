"""Kernels for the simulator's tests: tensor-level MLIR, and what bishengir-compile makes of it."""

import os
import re
import shutil
import subprocess
import tempfile
from functools import cache
from importlib.util import find_spec
from pathlib import Path

_DUMP = re.compile(r"(?m)^// -----// IR Dump Before [^\n]*\n")

SOFTMAX = """
    %lowest = arith.constant 0xFF800000 : f32
    %zero = arith.constant 0.0 : f32
    %rows = tensor.empty() : tensor<{m}xf32>
    %full = tensor.empty() : tensor<{m}x{n}xf32>
    %low = linalg.fill ins(%lowest : f32) outs(%rows : tensor<{m}xf32>) -> tensor<{m}xf32>
    %max = linalg.reduce {{ arith.maximumf }} ins(%x : tensor<{m}x{n}xf32>) outs(%low : tensor<{m}xf32>)
        dimensions = [1]
    %maxes = linalg.broadcast ins(%max : tensor<{m}xf32>) outs(%full : tensor<{m}x{n}xf32>) dimensions = [1]
    %shifted = arith.subf %x, %maxes : tensor<{m}x{n}xf32>
    %e = math.exp %shifted : tensor<{m}x{n}xf32>
    %none = linalg.fill ins(%zero : f32) outs(%rows : tensor<{m}xf32>) -> tensor<{m}xf32>
    %sum = linalg.reduce {{ arith.addf }} ins(%e : tensor<{m}x{n}xf32>) outs(%none : tensor<{m}xf32>)
        dimensions = [1]
    %sums = linalg.broadcast ins(%sum : tensor<{m}xf32>) outs(%full : tensor<{m}x{n}xf32>) dimensions = [1]
    %y = arith.divf %e, %sums : tensor<{m}x{n}xf32>
    return %y : tensor<{m}x{n}xf32>
"""

MATMUL = """
    %origin = arith.constant 0.0 : f32
    %space = tensor.empty() : tensor<{m}x{n}xf32>
    %start = linalg.fill ins(%origin : f32) outs(%space : tensor<{m}x{n}xf32>) -> tensor<{m}x{n}xf32>
    %x = linalg.matmul ins(%a, %b : tensor<{m}x{k}xf32>, tensor<{k}x{n}xf32>)
        outs(%start : tensor<{m}x{n}xf32>)
        -> tensor<{m}x{n}xf32>
"""


def device_function(arguments: str, result: str, body: str) -> str:
    """A module of one kernel."""
    kind = "hacc.entry, hacc.function_kind = #hacc.function_kind<DEVICE>"
    return f"module {{\n  func.func @main({arguments}) -> {result} attributes {{{kind}}} {{{body}  }}\n}}\n"


def softmax(m: int, n: int) -> str:
    tensor = f"tensor<{m}x{n}xf32>"
    return device_function(f"%x: {tensor}", tensor, SOFTMAX.format(m=m, n=n))


def matmul_softmax(m: int, k: int, n: int) -> str:
    arguments = f"%a: tensor<{m}x{k}xf32>, %b: tensor<{k}x{n}xf32>"
    return device_function(arguments, f"tensor<{m}x{n}xf32>", (MATMUL + SOFTMAX).format(m=m, k=k, n=n))


def select_equal(m: int, n: int) -> str:
    """x where the row's label is the column's, else minus one: comparisons to i1, on rows that are padded."""
    body = f"""
    %full = tensor.empty() : tensor<{m}x{n}xi32>
    %rows = linalg.broadcast ins(%label : tensor<{m}xi32>) outs(%full : tensor<{m}x{n}xi32>) dimensions = [1]
    %columns = linalg.broadcast ins(%column : tensor<{n}xi32>) outs(%full : tensor<{m}x{n}xi32>)
        dimensions = [0]
    %equal = arith.cmpi eq, %rows, %columns : tensor<{m}x{n}xi32>
    %other = arith.constant dense<-1.0> : tensor<{m}x{n}xf32>
    %y = arith.select %equal, %x, %other : tensor<{m}x{n}xi1>, tensor<{m}x{n}xf32>
    return %y : tensor<{m}x{n}xf32>
"""
    arguments = f"%x: tensor<{m}x{n}xf32>, %label: tensor<{m}xi32>, %column: tensor<{n}xi32>"
    return device_function(arguments, f"tensor<{m}x{n}xf32>", body)


@cache
def instructions(
    source: str, block_dim: int = 1, cross_core_solver: bool = False, more: tuple[str, ...] = ()
) -> str:
    """Instruction-level HIVM of a kernel, generic form.

    Args:
      source: tensor-level MLIR.
      block_dim: how many cores it may be split over.
      cross_core_solver: the tool's own default, which leaves out the flags between cores.
      more: further flags.
    """
    tool = Path(find_spec("ascendnpuir").origin).parent / "bin" / "bishengir-compile"
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "hivmc").symlink_to(shutil.which("true"))
        (Path(folder) / "kernel.mlir").write_text(source)
        command = [
            str(tool), "kernel.mlir", "-enable-hfusion-compile=true", "-enable-hivm-compile=true",
            f"--enable-hivm-cross-core-gss={str(cross_core_solver).lower()}", f"--block-dim={block_dim}",
            "--target=Ascend910B1", "--mlir-disable-threading", "--mlir-print-ir-before=convert-hivm-to-std",
            "--mlir-print-ir-module-scope", "--mlir-print-op-generic", *more, "-o", "kernel.o",
        ]  # fmt: skip
        path = os.pathsep.join((folder, str(tool.parent), os.environ["PATH"]))
        ran = subprocess.run(
            command,
            cwd=folder,
            env=os.environ | {"PATH": path},
            capture_output=True,
            text=True,
            check=False,
            timeout=120,  # it can hang, and grow, over kernels that it cannot schedule
        )
    dumps = _DUMP.split(ran.stderr + ran.stdout)
    assert ran.returncode == 0 and len(dumps) > 1, ran.stderr[-2000:]
    return dumps[-1]
