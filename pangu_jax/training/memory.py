"""Peak memory of a run, for its metrics."""

import resource
from collections.abc import Iterable

import jax


def peaks(devices: Iterable[jax.Device]) -> dict[str, float]:
    """`host_memory_gib`: peak resident size of this process. `device_memory_gib`: peak of its fullest device.

    Only devices of this process are asked. CPU devices keep no account, so there the second is missing.
    """
    mine = [device for device in devices if device.process_index == jax.process_index()]
    in_use = [stats["peak_bytes_in_use"] for device in mine if (stats := device.memory_stats())]
    # Linux counts ru_maxrss in KiB.
    peaks = {"host_memory_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20}
    return peaks | ({"device_memory_gib": max(in_use) / 2**30} if in_use else {})
