"""Parts of `gpu_session`: what the machine is, and the most that it does."""

import argparse
import os
import platform
import subprocess
import time
from collections.abc import Iterator
from typing import Any

PACKAGES = (
    *("jax", "jaxlib", "jax-cuda13-plugin", "jax-cuda12-plugin", "flax", "optax", "numpy", "pangu-jax"),
    *("nvidia-cudnn-cu13", "nvidia-cudnn-cu12", "nvidia-nccl-cu13", "nvidia-nccl-cu12"),
    *("nvidia-cublas", "torch", "triton", "transformers"),
)
SAID_BY_THE_CARD = (
    *("name", "driver_version", "compute_cap", "memory.total", "memory.used", "power.limit"),
    *("clocks.max.sm", "clocks.max.mem", "ecc.mode.current", "pcie.link.gen.max"),
)
VARIABLES = ("XLA_", "JAX_", "NVIDIA_", "CUDA_", "NCCL_", "PANGU_", "LD_LIBRARY_PATH")


def part_environment(flags: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Versions, the card by its own tool, the doctor's rows that start nothing, and the device by JAX."""
    import psutil

    from tpu_npu_backends.descriptions import BACKENDS
    from tpu_npu_backends.doctor import cuda, inventory, packages

    yield {
        "python": platform.python_version(),
        "versions": packages.versions(PACKAGES),
        "machine": inventory.machine(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "variables": {n: v for n, v in sorted(os.environ.items()) if n.startswith(VARIABLES)},
        "size": flags.size,
    }
    if flags.backend == "cuda":
        yield {"card": _card()}
        rows = cuda.findings(BACKENDS["cuda"], lambda *checks, library: [])
        yield {"doctor": {row.check: f"{row.status}: {row.found}; {row.remedy}".rstrip("; ") for row in rows}}
    yield from _device(flags)


def _card() -> dict[str, str] | str:
    """What nvidia-smi says of the first card; what is wrong where it does not."""
    command = ["nvidia-smi", f"--query-gpu={','.join(SAID_BY_THE_CARD)}", "--format=csv,noheader"]
    try:
        ran = subprocess.run(command, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"nvidia-smi: {error}"
    values = [value.strip() for value in ran.stdout.splitlines()[0].split(",")] if ran.stdout.strip() else []
    if ran.returncode or len(values) != len(SAID_BY_THE_CARD):
        return f"nvidia-smi: {(ran.stderr or ran.stdout).strip()[:300]}"
    return dict(zip(SAID_BY_THE_CARD, values, strict=True))


def _device(flags: argparse.Namespace) -> Iterator[dict[str, Any]]:
    from tpu_npu_backends import selection

    began = time.perf_counter()
    backend = selection.select(flags.backend)
    device = backend.devices[0]
    yield {
        "device": backend.describe(),
        "start_s": round(time.perf_counter() - began, 2),
        "platform_version": device.client.platform_version[:300],
        "memory": {name: int(value) for name, value in (device.memory_stats() or {}).items()},
        "data_sheet_flops": data_sheet_flops(backend),
    }


def data_sheet_flops(backend: Any) -> float | None:
    """Dense bfloat16 FLOP/s of the chip as its data sheet has them; None where no table has the chip."""
    from tpu_npu_backends import attached
    from tpu_npu_backends.errors import BackendError

    try:
        return None if backend.virtual else attached.topology(backend.devices[:1]).chip.peak_flops
    except BackendError:
        return None


def part_peak(flags: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """FLOP/s of a product of random numbers by dtype and precision, and bytes/s of a copy."""
    import jax
    import jax.numpy as jnp

    from tpu_npu_backends import selection

    device = selection.select(flags.backend).devices[0]
    size = 512 if flags.size == "tiny" else 8192
    with jax.default_device(device):
        a = jax.random.normal(jax.random.key(0), (size, size))
        for dtype, precision in (("bfloat16", None), ("float32", "highest"), ("float32", "default")):
            x = a.astype(dtype)
            product = jax.jit(lambda x, precision=precision: jnp.dot(x, x, precision=precision))
            seconds = _best(product, x)
            flops = 2 * size**3 / seconds
            yield {"product": size, "dtype": dtype, "precision": precision, "flops_per_s": flops}
        x = jnp.zeros(2**20 if flags.size == "tiny" else 2**30, jnp.float32)
        seconds = _best(jax.jit(lambda x: x + 1), x)
        yield {"copied_bytes": 2 * x.nbytes, "bytes_per_s": 2 * x.nbytes / seconds}


def _best(function, x) -> float:
    """Seconds of the best of three means of ten calls in a row."""
    function(x).block_until_ready()
    found = []
    for _ in range(3):
        began = time.perf_counter()
        for _ in range(10):
            made = function(x)
        made.block_until_ready()
        found.append((time.perf_counter() - began) / 10)
    return min(found)
