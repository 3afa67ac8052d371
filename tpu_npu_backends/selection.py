"""Choosing the devices of a run by name, before JAX has looked for any."""

import os
import re
from dataclasses import dataclass, field

import jax

from tpu_npu_backends import cpu, tpu
from tpu_npu_backends.errors import BackendError

_NAME = re.compile(r"(auto|tpu|cuda|npu|cpu(?::(?P<count>[0-9]+))?)")
_INSTALL = {
    "tpu": "install the extra: pip install 'pangu-jax[tpu]', on a TPU host",
    "cuda": "install jax[cuda13] and a driver",
    "npu": "there is no PJRT plugin for Ascend in this version",
}


@dataclass(frozen=True)
class Backend:
    """The devices of a run and how to compile for them.

    Attributes:
      platform: "cpu", "tpu", "cuda" or "npu".
      devices: the devices to use, of one platform.
      compute_dtype: what "auto" means here: float32 on CPU, bfloat16 on accelerators.
      compiler_options: XLA options for jit, each with its reason in the backend's own module.
    """

    platform: str
    devices: tuple[jax.Device, ...]
    compute_dtype: str
    compiler_options: dict[str, str] = field(default_factory=dict)

    def describe(self) -> str:
        """Such as `8 x cpu` or `4 x TPU v5 lite`."""
        return f"{len(self.devices)} x {self.devices[0].device_kind}"


def check_name(name: str) -> str:
    """The name itself when it is one; BackendError with the choices otherwise. Touches no device."""
    if not _NAME.fullmatch(name) or name == "cpu:0":
        raise BackendError(
            f"no backend {name!r}: it is one of auto, cpu, cpu:N (N virtual devices), tpu, cuda, npu"
        )
    return name


def promised_devices(name: str) -> int | None:
    """How many devices a name stands for, where the name alone tells: `cpu` is 1, `cpu:8` is 8."""
    match = _NAME.fullmatch(check_name(name))
    if match["count"]:
        return int(match["count"])
    return 1 if name == "cpu" else None


def select(name: str = "auto") -> Backend:
    """The backend of that name; BackendError in one line where this machine does not have it.

    `cpu:N` makes N virtual devices when JAX has not started yet, or takes the first N of those there are. Of
    several processes it is N of each.
    """
    match = _NAME.fullmatch(check_name(name))
    count = match["count"] and int(match["count"])
    platform = name.partition(":")[0]
    if platform != "auto":
        os.environ.setdefault("JAX_PLATFORMS", platform)
    if platform == "cpu" and not jax.config.jax_platforms:
        # JAX has read the variable already. Asked for CPU, it would start every plugin it finds: take the
        # chips, or complain at length that there are none.
        jax.config.update("jax_platforms", "cpu")
    if platform == "cpu" or (platform == "auto" and cpu.is_only_choice()):
        cpu.keep_freed_memory()
    if count:
        _make_virtual_devices(count)
    try:
        devices = jax.devices() if platform == "auto" else jax.devices(platform)
    except RuntimeError as error:
        reason, how = str(error).splitlines()[0], _INSTALL.get(platform, "look at JAX_PLATFORMS")
        raise BackendError(f"backend {name!r} is not on this machine ({reason}); {how}") from None
    if count:
        devices = _first_of_each_process(name, devices, count)
    elif platform == "cpu" and jax.process_count() == 1:
        devices = devices[:1]
    platform = devices[0].platform
    platform = "cuda" if platform == "gpu" else platform
    return Backend(
        platform=platform,
        devices=tuple(devices),
        compute_dtype="float32" if platform == "cpu" else "bfloat16",
        compiler_options=_compiler_options(platform, devices[0].device_kind),
    )


def _compiler_options(platform: str, device_kind: str) -> dict[str, str]:
    if platform == "cpu":
        return cpu.COMPILER_OPTIONS
    return tpu.compiler_options(tpu.CHIP_OF_KIND.get(device_kind, "")) if platform == "tpu" else {}


def _first_of_each_process(name: str, devices: list[jax.Device], count: int) -> list[jax.Device]:
    chosen = []
    for process in range(jax.process_count()):
        its = [device for device in devices if device.process_index == process]
        if count > len(its):
            raise BackendError(
                f"backend {name!r} needs {count} devices and JAX started with {len(its)}: "
                f"set XLA_FLAGS=--xla_force_host_platform_device_count={count} before Python starts"
            )
        chosen += its[:count]
    return chosen


def _make_virtual_devices(count: int) -> None:
    try:
        if jax.config.jax_num_cpu_devices < count:
            jax.config.update("jax_num_cpu_devices", count)
    except RuntimeError:
        # JAX has started: `select` takes what there is, or says that it is too few.
        return
