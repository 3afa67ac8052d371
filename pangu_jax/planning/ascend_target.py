"""The step compiled for a chip of Ascend: kernels, a launch plan, and device binaries where CANN is."""

import contextlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pangu_jax.errors import UserError
from pangu_jax.parallel.layout import Layout
from pangu_jax.planning import target_tables
from pangu_jax.planning.output_folder import replacing
from pangu_jax.planning.progress import PlanningProgress
from pangu_jax.recipes import Recipe
from pangu_jax.result import Result
from pangu_jax.training import compiling, step_recipe
from tpu_npu_backends import selection
from tpu_npu_backends.ascend import cann, compiler
from tpu_npu_backends.ascend.cann import binaries
from tpu_npu_backends.ascend.compiler import bishengir

REPORT = "report.json"  # what Program.write writes
KERNELS = "kernels"


@dataclass(frozen=True)
class AscendTarget:
    """A chip that the kernel compiler knows, such as "Ascend910B1"."""

    chip: str

    def compile_step(self, recipe: Recipe, out: Path | None) -> Result:
        """Kernels, how much of the FLOPs they cover, and what is left to the host; all of it to `out`."""
        bishengir.version()  # what is missing is reported before the work begins
        installation = cann.find()
        if installation:
            binaries.hivmc_version(installation)
        place = replacing(out, REPORT) if out is not None else contextlib.nullcontext()
        with PlanningProgress() as progress, place as folder:
            progress.now("reading the recipe")
            spec = step_recipe.read(recipe)
            layout = _one_device(spec.layout or Layout())
            progress.now("lowering the step")
            (device,) = selection.select("cpu").devices
            lowered = compiling.lower_step(
                spec.workload, spec.optimizer, layout, spec.batch_size, [device], "npu"
            )
            # With locations: an op that has no kernel is named with its line of the JAX program.
            text = lowered.as_text(debug_info=True)
            program = compiler.compile_program(text, target=self.chip, on_progress=progress.step)
            value: dict[str, Any] = {
                "target": self.chip,
                "batch_size": spec.batch_size,
                **program.report,
                "binaries": 0,
                "cann": installation and {"version": installation.version, "home": str(installation.home)},
            }
            if folder is not None:
                program.write(folder)
                if installation:
                    sources = sorted(folder / KERNELS / f"{key}.mlir" for key in program.kernels)
                    made = binaries.build(sources, self.chip, installation, bishengir.command, progress.step)
                    value["binaries"] = len(made)
        return Result(value, target_tables.ascend(value, out))


def _one_device(layout: Layout) -> Layout:
    """The layout when it goes with one device; UserError with the bindings that make it so."""
    over = [name for name, size in layout.axis_sizes().items() if size > 1]
    if over:
        bindings = " ".join(f"--gin.Layout.{name}=1" for name in over)
        described = replace(layout, data=max(1, layout.data)).describe()
        raise UserError(
            f"kernels are compiled for one device, and the layout is {described}: give {bindings}"
        )
    return layout.on(1)
