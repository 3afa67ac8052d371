"""Choosing the devices of a run by name, before JAX has looked for any."""

import logging
import os
import re
from dataclasses import dataclass, field

import jax

from tpu_npu_backends import cpu, gpu, gpu_numbers, plugin_complaints
from tpu_npu_backends.ascend import modes
from tpu_npu_backends.ascend.plugin import library
from tpu_npu_backends.cpu_kernels import library as library_of_cpu
from tpu_npu_backends.descriptions import BACKENDS, SIMULATED_DEVICES, CompilerOptions
from tpu_npu_backends.errors import BackendError

_NAME = re.compile(r"(?P<platform>auto|tpu|cuda|npu|cpu)(?::(?P<count>[1-9][0-9]*))?")
_COUNTED = ("cpu", "npu")
log = logging.getLogger(__name__)

_DEVICES = "PANGU_ASCEND_DEVICES"  # read by the plugin for npu when it starts


@dataclass(frozen=True)
class Backend:
    """The devices of a run and how to compile for them.

    Attributes:
      platform: "cpu", "tpu", "cuda" or "npu".
      devices: the devices to use, of one platform.
      compute_dtype: what "auto" means here: float32 on CPU, where it simulates and on cards without
        bfloat16, bfloat16 on other accelerators.
      capability: of GPUs, such as "9.0"; "" of others.
      virtual: whether the devices are threads of one machine and share its speed.
      compiler_options: XLA options for jit, each with its reason in the backend's own module.
      native: whether the CPU's kernels (`cpu_kernels`) are there to be called: on one CPU device, if built.
    """

    platform: str
    devices: tuple[jax.Device, ...]
    compute_dtype: str
    capability: str = ""
    virtual: bool = False
    compiler_options: CompilerOptions = field(default_factory=dict)
    native: bool = False

    def describe(self) -> str:
        """Such as `8 x cpu`, `4 x TPU v5 lite` or `8 x Ascend910B1, simulated`."""
        simulated = ", simulated" if self.virtual and self.platform != "cpu" else ""
        return f"{len(self.devices)} x {self.devices[0].device_kind}{simulated}"


def check_name(name: str) -> str:
    """The name itself when it is one; BackendError with the choices otherwise. Touches no device."""
    _parse(name)
    return name


def promised_devices(name: str) -> int | None:
    """How many devices a name means, where the name alone decides: `cpu` is 1, `cpu:8` is 8."""
    platform, count = _parse(name)
    if count or platform == "auto":
        return count
    return _simulated_devices() if platform == "npu" else BACKENDS[platform].count


def select(name: str = "auto") -> Backend:
    """The backend of that name; BackendError in one line where this machine does not have it.

    `cpu:N` and `npu:N` make N virtual devices when JAX has not started yet, or take the first N of those
    there are. Of several processes it is N of each; `npu` is of one process.
    """
    platform, count = _parse(name)
    if platform != "auto":
        os.environ.setdefault("JAX_PLATFORMS", BACKENDS[platform].jax_platforms)
    if platform == "npu":
        count = _prepare_npu(count)
    if platform in _COUNTED and not jax.config.values["jax_platforms"]:
        # JAX has read the variable already. Asked for CPU, it would start every plugin it finds: take the
        # chips, or complain at length that there are none. And npu is registered only where it is asked for.
        jax.config.update("jax_platforms", BACKENDS[platform].jax_platforms)
    if platform in _COUNTED or (platform == "auto" and cpu.is_only_choice()):
        cpu.keep_freed_memory()
    if platform == "cpu" and count:
        _make_virtual_devices(count)
    try:
        devices = jax.devices() if platform == "auto" else _devices_of(platform)
    except (RuntimeError, AssertionError) as error:  # the latter where JAX_PLATFORMS leaves it no platform
        said = str(error).partition("\n")[0] or "JAX finds no plugin for it"
        raise BackendError(_why_not(name, platform, said)) from None
    if count:
        devices = _first_of_each_process(name, devices, count)
    elif platform == "cpu" and jax.process_count() == 1:
        devices = devices[:1]
    platform = devices[0].platform
    platform = "cuda" if platform == "gpu" else platform
    description, kind = BACKENDS[platform], devices[0].device_kind
    capability, compute_dtype = "", description.compute_dtype
    if platform == "cuda":
        gpu_numbers.keep_float32()
        capability = str(getattr(devices[0], "compute_capability", ""))
        if not gpu_numbers.has_bfloat16(capability):
            compute_dtype = "float32"
            log.warning("%s (compute capability %s) has no bfloat16: float32", kind, capability)
    return Backend(
        platform=platform,
        devices=tuple(devices),
        compute_dtype=compute_dtype,
        capability=capability,
        virtual=description.virtual,
        compiler_options=description.compiler_options(kind),
        native=platform == "cpu" and len(devices) == 1 and library_of_cpu.register(),
    )


def _parse(name: str) -> tuple[str, int | None]:
    """Platform and count."""
    match = _NAME.fullmatch(name)
    if not match or (match["count"] and match["platform"] not in _COUNTED):
        raise BackendError(
            f"no backend {name!r}: it is one of auto, cpu, cpu:N (N virtual devices), tpu, cuda, npu, npu:N"
        )
    return match["platform"], int(match["count"]) if match["count"] else None


def _devices_of(platform: str) -> list[jax.Device]:
    """RuntimeError with what the plugin complained of, where it did."""
    with plugin_complaints.kept() as complaints:
        try:
            return jax.devices(platform)
        except (RuntimeError, AssertionError):
            mismatch = gpu.mismatch() if platform == "cuda" else None
            if why := mismatch or next(iter(complaints), None):
                raise RuntimeError(why) from None
            raise


def _why_not(name: str, platform: str, reason: str) -> str:
    how = "look at JAX_PLATFORMS"
    if platform == "npu":
        how = f"before JAX starts, set JAX_PLATFORMS={BACKENDS['npu'].jax_platforms}, or leave it unset"
    elif platform in BACKENDS:
        how = "; ".join(filter(None, (BACKENDS[platform].install, BACKENDS[platform].bring_device))) or how
    return f"backend {name!r} is not on this machine ({reason}); {how}"


def _prepare_npu(count: int | None) -> int:
    """Checks all that can be wrong before JAX is asked, where it can be said well; the number of devices."""
    modes.current()
    library.load()
    if jax.distributed.is_initialized():
        raise BackendError(
            "backend 'npu' is simulated in one process: it has no collectives between several; take cpu:N"
        )
    count = count or _simulated_devices()
    os.environ[_DEVICES] = str(max(count, _simulated_devices()))
    return count


def _simulated_devices() -> int:
    text = os.environ.get(_DEVICES)
    if not text:
        return SIMULATED_DEVICES
    if not re.fullmatch("[1-9][0-9]{0,3}", text):
        raise BackendError(f"{_DEVICES}={text}: give a number of devices, such as 8")
    return int(text)


def _first_of_each_process(name: str, devices: list[jax.Device], count: int) -> list[jax.Device]:
    chosen = []
    for process in range(jax.process_count()):
        its = [device for device in devices if device.process_index == process]
        if count > len(its):
            variable = "XLA_FLAGS=--xla_force_host_platform_device_count"
            variable = _DEVICES if name.startswith("npu") else variable
            raise BackendError(
                f"backend {name!r} needs {count} devices and JAX started with {len(its)}: "
                f"set {variable}={count} before Python starts"
            )
        chosen += its[:count]
    return chosen


def _make_virtual_devices(count: int) -> None:
    try:
        if jax.config.values["jax_num_cpu_devices"] < count:
            jax.config.update("jax_num_cpu_devices", count)
    except RuntimeError:
        # JAX has started: `select` takes what there is, or says that it is too few.
        return
