"""Running checks on a platform and comparing with cpu."""

import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import jax
import numpy as np

from tests.backends.conformance import numerics, programs_and_memory, sharding, transformations

Check = Callable[[Sequence[jax.Device]], object]

# Relative to the largest value of an array. Two builds of XLA round differently.
TOLERANCE = {"float64": 1e-12, "bfloat16": 1e-2, "float16": 1e-3, "float8_e4m3fn": 0.0}
DEFAULT_TOLERANCE = 1e-5

CHECKS: dict[str, Check] = {
    check.__name__: check
    for module in (transformations, numerics, sharding, programs_and_memory)
    for check in module.CHECKS
}


@dataclass(frozen=True)
class Result:
    """What came of a check: `said` is empty when it passed, else one line that says how it did not."""

    name: str
    said: str

    @property
    def passed(self) -> bool:
        return not self.said


def run(name: str, platform: str) -> Result:
    """One check on a platform, compared with cpu."""
    check = CHECKS[name]
    try:
        got = _values(check, platform)
    except Exception as error:
        line = next(iter(str(error).splitlines()), "")
        return Result(name, f"{type(error).__name__}: {line or traceback.format_exc(-1)}"[:200])
    return Result(name, _difference(_values(check, "cpu"), got))


def _values(check: Check, platform: str) -> list:
    devices = jax.devices(platform)
    with jax.default_device(devices[0]):
        return [_host(leaf) for leaf in jax.tree.leaves(check(devices))]


def _host(leaf) -> np.ndarray:
    if isinstance(leaf, jax.Array) and jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        leaf = jax.random.key_data(leaf)
    return np.asarray(leaf)


def _difference(want: list[np.ndarray], got: list[np.ndarray]) -> str:
    if len(want) != len(got):
        return f"{len(got)} values, cpu gives {len(want)}"
    for i, (a, b) in enumerate(zip(want, got, strict=True)):
        if a.shape != b.shape or a.dtype != b.dtype:
            return f"value {i} is {b.dtype}{list(b.shape)}, cpu gives {a.dtype}{list(a.shape)}"
        if a.dtype.kind in "biuUS":
            if not np.array_equal(a, b):
                return f"value {i} is {b.ravel()[:4]}, cpu gives {a.ravel()[:4]}"
            continue
        kind = np.complex128 if a.dtype.kind == "c" else np.float64
        a64, b64 = a.astype(kind), b.astype(kind)
        tolerance = TOLERANCE.get(a.dtype.name, DEFAULT_TOLERANCE)
        largest = np.abs(a64[np.isfinite(a64)]).max(initial=0.0)
        if not np.allclose(b64, a64, rtol=0, atol=tolerance * largest, equal_nan=True):
            with np.errstate(invalid="ignore"):
                apart = np.nanmax(np.abs(a64 - b64))
            return f"value {i} differs by {apart:.1e}, the largest is {largest:.1e}"
    return ""
