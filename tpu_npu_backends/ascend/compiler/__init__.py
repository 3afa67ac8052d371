"""StableHLO to Ascend kernels and a launch plan: lowering, partition, bishengir-compile, report."""

from tpu_npu_backends.ascend.compiler.program import AscendProgram, compile_program

__all__ = ["AscendProgram", "compile_program"]
