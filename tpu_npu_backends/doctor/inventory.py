"""What this machine has to compute with, and what could be installed. Starts no backend and loads no JAX."""

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tpu_npu_backends.ascend import cann
from tpu_npu_backends.ascend.plugin import library as ascend
from tpu_npu_backends.descriptions import BACKENDS, Description
from tpu_npu_backends.doctor import driver, packages
from tpu_npu_backends.errors import BackendError


@dataclass(frozen=True)
class BackendEntry:
    """A backend, as far as one sees without starting it.

    Attributes:
      backend: "cpu", "tpu", "cuda" or "npu".
      found: whether a run can be expected to use it here; `examination.examine` tries.
      how: how it was found, or what is missing.
      devices: as the driver or the system names them.
      versions: of the packages that it takes, those that are installed.
      install: the command that brings what is missing; empty where nothing is.
    """

    backend: str
    found: bool
    how: str
    devices: tuple[str, ...]
    versions: Mapping[str, str]
    install: str

    @property
    def value(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def inventory() -> list[BackendEntry]:
    """All backends, found or not."""
    return [_LOOK.get(name, _with_a_driver)(backend) for name, backend in BACKENDS.items()]


def _cpu(backend: Description) -> BackendEntry:
    return BackendEntry("cpu", True, "jaxlib itself", (machine(),), _versions(backend), "")


def _with_a_driver(backend: Description) -> BackendEntry:
    seen, library = driver.look(backend), packages.plugin(backend)
    plugin = f"plugin {library}" if library else "no plugin"
    how = f"{seen.described}; {plugin}" + (
        f" ({backend.without_device})" if library and not seen.devices else ""
    )
    install = "" if library else backend.install
    found = bool(library and seen.devices)
    return BackendEntry(backend.name, found, how, seen.devices, _versions(backend), install)


def _npu(backend: Description) -> BackendEntry:
    library, versions = packages.plugin(backend), _versions(backend)
    has_compiler = "ascendnpu-ir" in versions
    plugin = f"plugin {library}" if library else "the plugin is not built"
    how = f"{plugin}; {'' if has_compiler else 'no kernel compiler; '}{_cann()}"
    install = "" if has_compiler else backend.install
    if has_compiler and not library:
        install = ascend.BUILD
    devices = (f"{backend.count} x Ascend910B1, simulated",) if library else ()
    return BackendEntry("npu", library is not None, how, devices, versions, install)


def _cann() -> str:
    try:
        found = cann.find()
    except BackendError as error:
        return str(error)
    if found is None:
        return f"no CANN ({cann.VARIABLE} is not set)"
    return f"CANN {found.version} in {found.home} ({cann.NEVER_RUN})"


_LOOK = {"cpu": _cpu, "npu": _npu}


def _versions(backend: Description) -> dict[str, str]:
    return packages.versions(("jax", "jaxlib", *backend.packages))


def machine(path: Path = Path("/proc/cpuinfo")) -> str:
    """The processor and how many cores of it this process may use: "AMD EPYC 7B13, 2 cores"."""
    try:
        lines = path.read_text("utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith(("model name", "Model")))
    return f"{next(names, '') or 'a CPU'}, {len(os.sched_getaffinity(0))} cores"
