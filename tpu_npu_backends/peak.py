"""The measured peak of a machine: what its best large matrix product reaches, the denominator of MFU."""

import time

import jax
import jax.numpy as jnp

from tpu_npu_backends.descriptions import BACKENDS
from tpu_npu_backends.selection import Backend

# Between two measurements of a process: on two slow cores one costs half a second.
SECONDS_APART = 10.0

# The best figure so far by device and dtype, and when it was last asked for.
_best: dict[tuple[jax.Device, str], tuple[float, float]] = {}


def matmul_peak(device: jax.Device, dtype: str, size: int | None = None, repeats: int = 4) -> float:
    """FLOP/s of the best of `repeats` products of two [size, size] matrices on one device.

    Measured, not looked up: a shared or throttled machine is compared with what it can do now.
    """
    known = BACKENDS.get(device.platform)
    size = size or (1536 if known and known.virtual else 8192)
    with jax.default_device(device):
        # Random numbers, as a step has: ones draw less power, and an H200 was 13% faster with them.
        a = jax.random.normal(jax.random.key(0), (size, size), jnp.float32).astype(dtype)
        product = jax.jit(jnp.dot)
        product(a, a).block_until_ready()
        best = min(_seconds(product, a) for _ in range(repeats))
    return 2 * size**3 / best


def _seconds(product, a: jax.Array) -> float:
    start = time.perf_counter()
    product(a, a).block_until_ready()
    return time.perf_counter() - start


def machine_peak(backend: Backend, dtype: jnp.dtype) -> float:
    """FLOP/s of all devices of a run together. Virtual devices share one machine: they count once.

    The best that this process has seen: a machine that was busy when first asked is measured again when
    asked SECONDS_APART later. So ask in pauses, never while a step is timed.
    """
    mine = (device for device in backend.devices if device.process_index == jax.process_index())
    device, name = next(mine), jnp.dtype(dtype).name
    peak, when = _best.get((device, name), (0.0, -SECONDS_APART))
    if time.monotonic() - when >= SECONDS_APART:
        peak = max(peak, matmul_peak(device, name))
        _best[device, name] = peak, time.monotonic()
    return peak if backend.virtual else peak * len(backend.devices)
