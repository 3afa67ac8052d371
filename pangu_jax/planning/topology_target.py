"""The step compiled for a topology of TPUs or GPUs, or of virtual CPU devices, by XLA's own compiler."""

import contextlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path

from pangu_jax.parallel.layout import Layout
from pangu_jax.planner import planner, predictions
from pangu_jax.planning import compiled_steps, target_tables
from pangu_jax.planning.compiled_facts import facts
from pangu_jax.planning.output_folder import replacing
from pangu_jax.planning.progress import PlanningProgress
from pangu_jax.recipes import Recipe
from pangu_jax.result import Result
from pangu_jax.training import step_recipe
from pangu_jax.training.step_recipe import StepRecipe
from tpu_npu_backends import selection, topologies
from tpu_npu_backends.topologies import Topology

REPORT = "report.json"


@dataclass(frozen=True)
class TopologyTarget:
    """A topology for which there is a compiler."""

    topology: Topology

    def compile_step(self, recipe: Recipe, out: Path | None) -> Result:
        """Memory, kernels, collectives and times of one step; the optimised program goes to `out`."""
        topology = self.topology
        # Tracing happens on this machine's CPU: chips that are there are not taken for it.
        selection.select(topology.name if topology.chip.platform == "cpu" else "cpu")
        devices = topologies.devices(topology)
        place = replacing(out, REPORT) if out is not None else contextlib.nullcontext()
        with PlanningProgress() as progress, place as folder:
            progress.now("reading the recipe")
            spec = step_recipe.read(recipe)
            topology.check_dtype(spec.compute_dtype)
            layout = _layout(spec, topology)
            progress.now(f"compiling for {topology.name}, {layout.describe()}")
            step = compiled_steps.compile_step(
                spec.workload, spec.optimizer, layout, spec.batch_size, topology, devices
            )
            flops = spec.workload.flops_per_step(spec.batch_size)
            value = {
                "target": topology.name,
                "chips": topology.chips,
                "devices": topology.device_count,
                "layout": asdict(layout),
                "batch_size": spec.batch_size,
                "model_flops_per_step": flops,
                **facts(step, compiled_steps.cost(step, layout, topology, devices), topology, flops),
            }
            if folder is not None:
                (folder / "step.hlo.txt").write_text(step.hlo_text, "utf-8")
                (folder / REPORT).write_text(json.dumps(value, indent=2) + "\n", "utf-8")
        return Result(value, target_tables.topology(topology, layout, value, out))


def _layout(spec: StepRecipe, topology: Topology) -> Layout:
    """The recipe's own, or the planner's first choice where the recipe leaves it to that."""
    if spec.layout is not None:
        return spec.layout.on(topology.device_count)
    model = predictions.describe(spec.workload, spec.batch_size, spec.optimizer_bytes, spec.compute_dtype)
    return planner.search(model, topology, top=1).ranking[0].layout
