"""XLA's compiler for NVIDIA's GPUs: what it is told of chips that are not there, and its options.

The plugin alone is enough (`pip install 'pangu-jax[gpu-compile]'`, 130 MB): no driver and no CUDA toolkit. A
program that is compiled so is for looking at, memory, collectives and schedule: on the chip its products are
tuned.
"""

import importlib.util
from typing import Any

import jax
from jax.experimental import topologies

from tpu_npu_backends import gpu_options
from tpu_npu_backends.errors import BackendError

COMPILER_OPTIONS: dict[str, str | bool | int] = {
    # Without a chip nothing can be tuned, and every product would be a Triton kernel with a tile of 16 x 8.
    # The large ones of a step go to cuBLASLt on the chip too.
    "xla_gpu_enable_triton_gemm": False,
    **gpu_options.COMPILER_OPTIONS,
}

# A GpuTargetConfigProto of a chip, after XLA's own (xla/backends/gpu/target_config/specs, Apache 2.0).
TARGETS = {
    "h100": """
gpu_device_info {
  threads_per_block_limit: 1024 threads_per_warp: 32 shared_memory_per_block: 49152
  shared_memory_per_core: 233472 threads_per_core_limit: 2048 core_count: 132 fpus_per_core: 128
  block_dim_limit_x: 2147483647 block_dim_limit_y: 65535 block_dim_limit_z: 65535
  memory_bandwidth: 3352320000000 l2_cache_size: 52428800 clock_rate_ghz: 1.98
  device_memory_size: 84942979072 shared_memory_per_block_optin: 232448
  cuda_compute_capability { major: 9 minor: 0 feature_extension: ACCELERATED_FEATURES }
  registers_per_core_limit: 65536 registers_per_block_limit: 65536
}
platform_name: "CUDA"
dnn_version_info { major: 9 minor: 8 }
device_description_str: "NVIDIA H100 80GB HBM3"
""",
}
PLUGINS = ("jax_cuda13_plugin", "jax_cuda12_plugin")


def devices(name: str, chip: str, shape: tuple[int, int]) -> list[Any]:
    """Devices of nodes that are not there, to compile for; BackendError where the plugin is not.

    Args:
      name: of the topology.
      chip: one of TARGETS.
      shape: nodes, and chips of each.
    """
    if not any(importlib.util.find_spec(plugin) for plugin in PLUGINS):
        raise BackendError(
            f"compiling for {name} needs a plugin: pip install 'pangu-jax[gpu-compile]' (no GPU is needed)"
        )
    nodes, chips = shape
    try:
        described = topologies.get_topology_desc(
            name, "cuda", target_config=TARGETS[chip], topology=f"1x{nodes}x{chips}"
        )
    except (RuntimeError, ValueError, NotImplementedError, jax.errors.JaxRuntimeError) as error:
        raise BackendError(f"the plugin refuses {name}: {str(error).splitlines()[0]}") from None
    return list(described.devices)
