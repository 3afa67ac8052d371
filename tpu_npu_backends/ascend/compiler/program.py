"""A compiled program: kernels, launch plan and report; written to a folder, read back, and run here."""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tpu_npu_backends.ascend.compiler import bishengir_workarounds, folding, graph, lowering, report
from tpu_npu_backends.ascend.compiler.assembling import Planner, assemble
from tpu_npu_backends.ascend.compiler.executing import Executor
from tpu_npu_backends.ascend.compiler.kernels import Compiler, Kernel
from tpu_npu_backends.ascend.compiler.plan import ExecutionPlan
from tpu_npu_backends.errors import BackendError


@dataclass
class AscendProgram:
    """What a compiled program is.

    Attributes:
      plan: what a host does.
      kernels: by key, those that the plan launches.
      constants: by name.
      report: see `report.make`.
    """

    plan: ExecutionPlan
    kernels: dict[str, Kernel]
    constants: dict[str, np.ndarray]
    report: dict[str, Any]

    def run(self, arguments: Sequence[np.ndarray]) -> list[np.ndarray]:
        """What the program returns for arguments; kernels run in the simulator."""
        instructions = {key: kernel.instructions for key, kernel in self.kernels.items()}
        arrays = [np.asarray(argument) for argument in arguments]
        expected = [self.plan.buffers[number] for number in self.plan.arguments]
        if len(arrays) != len(expected):
            raise BackendError(f"the program takes {len(expected)} arguments, and was given {len(arrays)}")
        for number, (array, buffer) in enumerate(zip(arrays, expected, strict=True)):
            if array.shape != buffer.shape:
                raise BackendError(
                    f"argument {number} of the program has shape {list(buffer.shape)}, and was given "
                    f"{list(array.shape)}"
                )
        made = Executor(instructions, self.constants).run(self.plan, arrays)
        unsigned = [name if name.startswith("uint") else None for name in self.plan.result_dtypes]
        return [array.view(name) if name else array for array, name in zip(made, unsigned, strict=True)]

    def write(self, folder: str | Path) -> None:
        """kernels/, constants.npz, report.json and, last, plan.json.

        Of each kernel: KEY.mlir, what bishengir-compile was given; KEY.hivm.mlir, what it would give to
        hivmc; KEY.instructions.mlir, what the simulator runs.
        """
        folder = Path(folder)
        try:
            (folder / "kernels").mkdir(parents=True, exist_ok=True)
            for key, kernel in self.kernels.items():
                (folder / "kernels" / f"{key}.mlir").write_text(kernel.source, "utf-8")
                (folder / "kernels" / f"{key}.hivm.mlir").write_text(kernel.hivm, "utf-8")
                (folder / "kernels" / f"{key}.instructions.mlir").write_text(kernel.instructions, "utf-8")
            raw = {name: _storable(values) for name, values in self.constants.items()}
            # pyrefly: ignore[bad-argument-type]  names are constant_0, ...: never savez's own `allow_pickle`
            np.savez(folder / "constants.npz", **raw)
            (folder / "report.json").write_text(json.dumps(self.report, indent=1), "utf-8")
            (folder / "plan.json").write_text(json.dumps(self.plan.to_json()), "utf-8")
        except OSError as error:
            raise BackendError(f"{folder}: {error.strerror}; name a folder that can be written") from None

    @staticmethod
    def read(folder: str | Path) -> "AscendProgram":
        """What `write` wrote."""
        folder = Path(folder)
        try:
            plan = ExecutionPlan.from_json(json.loads((folder / "plan.json").read_text("utf-8")))
            written = json.loads((folder / "report.json").read_text("utf-8"))
            kernels = {}
            for path in sorted((folder / "kernels").glob("*.instructions.mlir")):
                key = path.name.removesuffix(".instructions.mlir")
                source, hivm = (
                    (folder / "kernels" / f"{key}{end}").read_text("utf-8") for end in (".mlir", ".hivm.mlir")
                )
                kernels[key] = Kernel(key, source, path.read_text("utf-8"), hivm)
            with np.load(folder / "constants.npz", allow_pickle=False) as kept:
                constants = {name: kept[name] for name in kept.files}
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise BackendError(f"{folder} holds no compiled program: {str(error)[:200]}") from None
        return AscendProgram(plan, kernels, constants, written)


def _storable(values: np.ndarray) -> np.ndarray:
    """bfloat16 is no type of NumPy's files: float32 holds its values."""
    return values.astype(np.float32) if values.dtype.name == "bfloat16" else values


def compile_program(
    program: str | bytes,
    *,
    target: str = "Ascend910B1",
    cache_dir: Path | None = None,
    on_progress: Callable[[str, int, int], None] | None = None,
) -> AscendProgram:
    """Compile StableHLO for an Ascend chip.

    Args:
      program: StableHLO as text, or as portable bytecode (what PJRT's Compile is given).
      target: the chip.
      cache_dir: where kernels are kept by content; below the user's cache folder when None.
      on_progress: called with what is being done, how many are done, and of how many.

    Raises:
      BackendError: the compiler is not installed or does not run here, or the program has an op that neither
        it nor the host can do; it is named, with its line where known.
    """
    began = time.monotonic()
    compiler = Compiler(target, cache_dir, on_progress)
    lowered = lowering.lower(program)
    with lowered.context:
        functions = graph.functions_of(lowered.module)
        for function in functions.values():
            bishengir_workarounds.rewrite(function)
            folding.fold(function)
            bishengir_workarounds.replace_misread(function)
        lowered_s = time.monotonic() - began
        assembled = assemble(functions, compiler)
        planner = Planner(assembled)
        plan = planner.write("main")
        plan.result_dtypes = lowered.result_dtypes
        kernels = {
            part.kernel.key: part.kernel
            for each in assembled.values()
            for part in each.parts
            if part.kernel is not None and part.kernel.compiled
        }
        seconds = {"lowering": lowered_s, "total": time.monotonic() - began}
        made = report.make(assembled, plan, kernels, compiler, seconds)
    return AscendProgram(plan, kernels, planner.constants, made)
