"""What is told of a step that was compiled: the same for one target and for the layouts of a plan."""

from dataclasses import asdict
from typing import Any

from pangu_jax.planner.cost_report import CostReport
from pangu_jax.planner.kernel_counts import kernel_counts
from pangu_jax.planning.compiled_steps import CompiledStep
from tpu_npu_backends import gpu
from tpu_npu_backends.topologies import Topology


def facts(
    step: CompiledStep, cost: CostReport | None, topology: Topology, model_flops: float | None
) -> dict[str, Any]:
    """For JSON.

    Args:
      step: the program.
      cost: the count of it; None where no compiler gives what it rests on.
      topology: what it was compiled for.
      model_flops: of a step, whole mesh; None where its MFU says nothing.
    """
    compute_only, exposed = cost.mfu(model_flops) if cost and model_flops else (None, None)
    return {
        "memory_bytes_per_device": {**step.memory, "total": step.bytes_per_device},
        "memory_limit_bytes_per_device": topology.memory_bytes,
        "fits": step.bytes_per_device <= topology.memory_bytes,
        "matmul_flops_per_device": cost and cost.matmul_flops + cost.kernel_flops,
        "collectives": [asdict(collective) for collective in cost.collectives] if cost else None,
        "kernels": kernel_counts(step.hlo_text),
        "seconds": cost
        and {
            "step": cost.step_seconds,
            "compute": cost.compute_seconds,
            "exposed_communication": cost.exposed_seconds,
        },
        "mfu": {"compute_only": compute_only, "exposed": exposed} if compute_only else None,
        "assumed": list(cost.notes) if cost else [],
        "cannot_say": list(gpu.CANNOT_SAY) if topology.chip.platform == "cuda" else [],
        "compile_s": step.compile_s,
        "cached": step.cached,
        "ran_on": "never run on hardware",
    }
