#!/usr/bin/env bash
# Guessed: options that ask XLA's GPU compiler what it expects a program to take (xla_gpu_collect_cost_model_stats with
# xla_gpu_enable_analytical_sol_latency_estimator) work for every NVIDIA card that it compiles for, or are passed over where it has no
# tables: at the most they change the order of the program.
#
# Happens (jax 0.10.2, jax-cuda13-plugin 0.10.2; no GPU is needed): a program without any collective, 2 x, compiles for H100 and B200 with
# them. For an A100 it ends with an error: there are no tables of its capability. For the same card as B200 under the name "NVIDIA GB200" it ends
# with another: the plugin's own table of collectives for that name cannot be read. Without the two options all four compile. What helps:
# ask for them on compute capability 9.0 and 10.0 alone, and describe a GB200 to the compiler by the name of a B200.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet --disable-pip-version-check jax==0.10.2 jaxlib==0.10.2
"$folder/env/bin/pip" install --quiet --disable-pip-version-check --no-deps jax-cuda13-plugin==0.10.2 jax-cuda13-pjrt==0.10.2

(cd "$folder" && JAX_PLATFORMS=cpu "$folder/env/bin/python" - 2>/dev/null <<'PY') | tee "$folder/seen"
from importlib.metadata import version

import jax
import numpy as np
from jax.experimental import topologies
from jax.sharding import Mesh, NamedSharding, PartitionSpec

DESCRIPTION = """
gpu_device_info {{
  threads_per_block_limit: 1024 threads_per_warp: 32 shared_memory_per_block: 49152 shared_memory_per_core: 167936
  threads_per_core_limit: 2048 core_count: 108 fpus_per_core: 64 block_dim_limit_x: 2147483647
  block_dim_limit_y: 65535 block_dim_limit_z: 65535 memory_bandwidth: 2039000000000 l2_cache_size: 41943040
  clock_rate_ghz: 1.41 device_memory_size: 85100068864 shared_memory_per_block_optin: 166912
  cuda_compute_capability {{ major: {major} minor: 0 }} registers_per_core_limit: 65536 registers_per_block_limit: 65536
}}
platform_name: "CUDA"
dnn_version_info {{ major: 9 minor: 10 }}
device_description_str: "{name}"
"""
ASKED = {"xla_gpu_collect_cost_model_stats": True, "xla_gpu_enable_analytical_sol_latency_estimator": True}

print("jax", jax.__version__, "jax-cuda13-plugin", version("jax-cuda13-plugin"))
for name, major in (
    ("NVIDIA A100-SXM4-80GB", 8),
    ("NVIDIA H100 80GB HBM3", 9),
    ("NVIDIA B200", 10),
    ("NVIDIA GB200", 10),
):
    described = DESCRIPTION.format(name=name, major=major)
    devices = topologies.get_topology_desc("any", "cuda", target_config=described, topology="1x1x4").devices
    sharding = NamedSharding(Mesh(np.array(devices), ("data",)), PartitionSpec("data"))
    lowered = jax.jit(lambda x: 2 * x).lower(jax.ShapeDtypeStruct((1024,), "float32", sharding=sharding))
    for options in ({}, ASKED):
        try:
            lowered.compile(compiler_options=options)
            said = "compiled"
        except jax.errors.JaxRuntimeError as error:
            said = str(error).partition(": {")[0].splitlines()[0][:100]
        print(f"{name}, {'with' if options else 'without'} the options: {said}")
PY
diff "$folder/seen" - <<'SEEN'
jax 0.10.2 jax-cuda13-plugin 0.10.2
NVIDIA A100-SXM4-80GB, without the options: compiled
NVIDIA A100-SXM4-80GB, with the options: NOT_FOUND: Cannot find key: sm_80
NVIDIA H100 80GB HBM3, without the options: compiled
NVIDIA H100 80GB HBM3, with the options: compiled
NVIDIA B200, without the options: compiled
NVIDIA B200, with the options: compiled
NVIDIA GB200, without the options: compiled
NVIDIA GB200, with the options: FAILED_PRECONDITION: Non homogenous replica group
SEEN
