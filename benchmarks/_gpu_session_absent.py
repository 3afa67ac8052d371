"""What a compiler without a card says of `gpu_session`'s base, for docs/results/gpu_compiled.json.

pip install 'pangu-jax[cuda-compile]'
JAX_PLATFORMS=cpu python -m benchmarks._gpu_session_absent h100:1x1
"""

import importlib.metadata
import json
import sys

from benchmarks import _our_step
from benchmarks._gpu_session_training import ABSENT, BASE, BASE_BATCH


def main() -> None:
    """Both kernels of attention on one device of the topology; the others of the file stay."""
    from pangu_jax.planning import compiled_steps
    from tpu_npu_backends import topologies

    topology = topologies.parse(sys.argv[1])
    devices = topologies.devices(topology)[:1]
    found = json.loads(ABSENT.read_text("utf-8")) if ABSENT.is_file() else {}
    for kernel in ("plain", "flash"):
        # For the workload and the layout: what attends is decided for the platform below.
        bindings = [f"train.batch_size={BASE_BATCH}", *_our_step.attention(kernel)]
        workload, optimizer, layout = _our_step.described(BASE, bindings)
        step = compiled_steps.compile_step(workload, optimizer, layout, BASE_BATCH, topology, devices)
        counted = compiled_steps.cost(step, layout, topology, devices)
        assert counted is not None
        seconds = counted.compute_seconds + counted.exposed_seconds
        flops = workload.flops_per_step(BASE_BATCH)
        found[f"{topology.chip.name}, {kernel}"] = {
            "compiled_bytes": step.memory,
            "bytes": step.bytes_per_device,
            "counted_step_s": round(seconds, 5),
            "counted_mfu": round(flops / seconds / topology.chip.peak_flops, 4),
            "compile_s": step.compile_s,
            "jaxlib": importlib.metadata.version("jaxlib"),
        }
    ABSENT.parent.mkdir(exist_ok=True)
    ABSENT.write_text(json.dumps(found, indent=2) + "\n", "utf-8")


if __name__ == "__main__":
    main()
