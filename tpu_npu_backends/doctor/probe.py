"""The process that tries a backend: `python -m tpu_npu_backends.doctor.probe PLATFORM CHECK... --to FD`.

It may hang or crash: `running` started it and has a clock. Each check is one JSON object on a line of its
own, written as soon as it is known, into a pipe of its own: libraries print what they like on the others.
"""

import argparse
import dataclasses
import json
import os
import time
from collections.abc import Callable
from pathlib import Path

from tpu_npu_backends.descriptions import BACKENDS
from tpu_npu_backends.doctor.findings import Finding
from tpu_npu_backends.errors import BackendError

VIRTUAL_DEVICES = 8  # of the CPU, so that its collective has somebody to talk to
EXACT_SIZE = 256  # of the product that is compared with NumPy's

# Of the products that are timed: a second or so, and large enough for the speed of a large one.
SIZE_OF_A_MACHINE, SIZE_OF_A_CHIP = 1536, 8192
COLLECTIVE_BYTES = 4 * 2**20  # of each device


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("platform")
    parser.add_argument("checks", nargs="+", choices=list(CHECKS))
    parser.add_argument("--to", type=int, required=True)
    parser.add_argument("--library", type=Path)
    arguments = parser.parse_args()
    with os.fdopen(arguments.to, "w", buffering=1, encoding="utf-8") as pipe:
        for name in arguments.checks:
            pipe.write(json.dumps({"begins": name}) + "\n")
            try:
                findings = CHECKS[name](arguments)
            except BackendError as error:
                findings = [Finding.of(name, error)]
            except Exception as error:  # whatever a broken driver raises is the finding
                findings = [Finding(name, f"{type(error).__name__}: {_first_line(error)}", "wrong")]
            for finding in findings:
                pipe.write(json.dumps(dataclasses.asdict(finding)) + "\n")
            if any(finding.status == "wrong" for finding in findings):
                break


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0][:300]


def _plugin(arguments: argparse.Namespace) -> list[Finding]:
    from tpu_npu_backends.doctor import plugin_api

    if arguments.platform == "npu":
        from tpu_npu_backends.ascend.plugin import library

        library.load()  # which compares the version of the plugin inside with its own
    api = plugin_api.read(arguments.library)
    found = f"{arguments.library.name}, PJRT API {api.major}.{api.minor}, {api.struct_size} bytes"
    return [Finding("plugin", found)]


def _cann(_: argparse.Namespace) -> list[Finding]:
    from tpu_npu_backends.ascend import cann
    from tpu_npu_backends.ascend.cann import acl

    installation = cann.find()
    if installation is None:
        raise BackendError(f"no CANN: {cann.VARIABLE} is not set")
    with acl.open_(installation.acl_library) as opened:
        version, devices = opened.version(), opened.devices()
    found = f"AscendCL {version}, {len(devices)} devices ({cann.NEVER_RUN})"
    remedy = "" if devices else "look at `npu-smi info`, and at who may read /dev/davinci*"
    rows = [Finding("AscendCL", found, "ok" if devices else "wrong", remedy)]
    for device in devices:
        memory = f"{_gib(device.free_bytes)} of {_gib(device.total_bytes)} GiB free"
        rows.append(Finding(f"AscendCL device {device.index}", f"{device.soc_name}, {memory}"))
    return rows


def _backend(arguments: argparse.Namespace):
    from tpu_npu_backends import selection

    platform = arguments.platform
    return selection.select(f"cpu:{VIRTUAL_DEVICES}" if platform == "cpu" else platform)


def _devices(arguments: argparse.Namespace) -> list[Finding]:
    began = time.perf_counter()
    backend = _backend(arguments)
    seconds = time.perf_counter() - began
    virtual = " (virtual)" if backend.platform == "cpu" else ""
    lines = backend.devices[0].client.platform_version.strip().splitlines()
    said = ", ".join(line for line in lines if line not in ("", "cpu", "PJRT C API"))[:200]
    found = f"{backend.describe()}{virtual}, {seconds:.1f} s to start" + (f"; {said}" if said else "")
    return [Finding("devices", found)]


def _memory(arguments: argparse.Namespace) -> list[Finding]:
    import psutil

    device = _backend(arguments).devices[0]
    stats = device.memory_stats() or {}
    if "bytes_limit" in stats:
        free = stats["bytes_limit"] - stats.get("bytes_in_use", 0)
        simulated = " (simulated)" if BACKENDS[arguments.platform].virtual else ""
        found = f"{_gib(free)} of {_gib(stats['bytes_limit'])} GiB free per device{simulated}"
        return [Finding("memory", found)]
    machine = psutil.virtual_memory()
    return [Finding("memory", f"{_gib(machine.available)} of {_gib(machine.total)} GiB free, of the machine")]


def _matmul(arguments: argparse.Namespace) -> list[Finding]:
    import jax
    import jax.numpy as jnp
    import numpy as np

    from tpu_npu_backends import peak

    backend = _backend(arguments)
    device = backend.devices[0]
    # Small whole numbers: the sums are exact in fp32 whatever the order, and the factors in bfloat16.
    x_NxN = (np.arange(EXACT_SIZE**2).reshape(EXACT_SIZE, EXACT_SIZE) % 7 - 3).astype(np.float32)
    began = time.perf_counter()
    product = jax.jit(lambda x: jnp.dot(x, x, preferred_element_type=jnp.float32))
    y_NxN = np.asarray(product(jax.device_put(jnp.asarray(x_NxN, backend.compute_dtype), device)))
    first = time.perf_counter() - began
    if not np.array_equal(y_NxN, x_NxN @ x_NxN):
        off = float(np.abs(y_NxN - x_NxN @ x_NxN).max())
        return [Finding("matmul", f"a product of {EXACT_SIZE} x {EXACT_SIZE} is off by {off:g}", "wrong")]
    size = SIZE_OF_A_MACHINE if BACKENDS[backend.platform].virtual else SIZE_OF_A_CHIP
    flops = peak.matmul_peak(device, backend.compute_dtype, size)
    found = (
        f"exact; {_flops(flops)} in {backend.compute_dtype}, a product of {size} in "
        f"{2 * size**3 / flops * 1e3:.3g} ms; the first took {first:.1f} s with compiling"
    )
    return [Finding("matmul", found)]


def _collective(arguments: argparse.Namespace) -> list[Finding]:
    import jax
    import jax.numpy as jnp
    import numpy as np
    from jax.sharding import Mesh, NamedSharding, PartitionSpec

    devices = _backend(arguments).devices
    count, width = len(devices), COLLECTIVE_BYTES // 4
    mesh = Mesh(np.asarray(devices), ("devices",))
    split = PartitionSpec("devices")
    ranks = np.repeat(np.arange(count, dtype=np.float32), width).reshape(count, width)
    x_NxW = jax.device_put(ranks, NamedSharding(mesh, split))
    total = jax.jit(
        jax.shard_map(lambda x: jax.lax.psum(x, "devices"), mesh=mesh, in_specs=split, out_specs=split)
    )
    sums = jnp.asarray(total(x_NxW))
    if not np.array_equal(np.asarray(sums), np.full((count, width), count * (count - 1) / 2, np.float32)):
        return [Finding("collective", f"a psum over {count} devices gave a wrong sum", "wrong")]
    began = time.perf_counter()
    total(x_NxW).block_until_ready()
    seconds = time.perf_counter() - began
    alone = ", which needs no link" if count == 1 else ""
    found = (
        f"exact; psum of {COLLECTIVE_BYTES >> 20} MiB over {count} devices in {seconds * 1e3:.3g} ms{alone}"
    )
    return [Finding("collective", found)]


def _gib(size: float) -> str:
    return f"{size / 2**30:.3g}"


def _flops(per_second: float) -> str:
    for unit, size in (("PFLOP/s", 1e15), ("TFLOP/s", 1e12)):
        if per_second >= size:
            return f"{per_second / size:.3g} {unit}"
    return f"{per_second / 1e9:.3g} GFLOP/s"


CHECKS: dict[str, Callable[[argparse.Namespace], list[Finding]]] = {
    "plugin": _plugin,
    "cann": _cann,
    "devices": _devices,
    "memory": _memory,
    "matmul": _matmul,
    "collective": _collective,
}

if __name__ == "__main__":
    main()
