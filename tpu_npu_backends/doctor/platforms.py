"""What each backend consists of: packages, device files, the driver's own tool, the plugin."""

import importlib.metadata
import importlib.util
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tpu_npu_backends.ascend.plugin import library as ascend


@dataclass(frozen=True)
class Platform:
    """A backend as seen from outside, before JAX is started.

    Attributes:
      name: "cpu", "tpu", "cuda" or "npu", as train.backend names it.
      packages: the installed ones tell the versions that matter.
      plugins: where its PJRT plugin may be: a package, and a file below it.
      device_files: glob patterns below /dev; empty where there is no driver.
      tool: the driver's command that lists devices, one a line; empty where there is none.
      install: the command that brings the plugin and what it takes.
      bring_device: what to do where there is no device.
      without_device: what the plugin is good for there.
    """

    name: str
    packages: tuple[str, ...]
    plugins: tuple[tuple[str, str], ...] = ()
    device_files: tuple[str, ...] = ()
    tool: tuple[str, ...] = ()
    install: str = ""
    bring_device: str = ""
    without_device: str = "of no use without a device"


PLATFORMS = {
    platform.name: platform
    for platform in (
        Platform("cpu", ("jax", "jaxlib")),
        Platform(
            "tpu",
            ("libtpu",),
            plugins=(("libtpu", "libtpu.so"),),
            device_files=("accel[0-9]*", "vfio/[0-9]*"),
            install="pip install 'pangu-jax[tpu]'",
            bring_device="run on a TPU host; in a container, pass its devices in",
            without_device="it compiles for TPUs that are not here: `pangu backend compile --target v5e:2x2`",
        ),
        Platform(
            "cuda",
            ("jax-cuda13-plugin", "jax-cuda13-pjrt", "jax-cuda12-plugin", "jax-cuda12-pjrt"),
            plugins=(
                ("jax_plugins.xla_cuda13", "xla_cuda_plugin.so"),
                ("jax_plugins.xla_cuda12", "xla_cuda_plugin.so"),
            ),
            device_files=("nvidia[0-9]*",),
            tool=(
                "nvidia-smi",
                "--query-gpu=name,memory.total,driver_version",
                "--format=csv,noheader",
            ),
            install="pip install 'jax[cuda13]'",
            bring_device="install NVIDIA's driver; in a container, pass its devices in (--gpus all)",
        ),
        Platform(
            "npu",
            ("ascendnpu-ir",),
            device_files=("davinci[0-9]*",),
            tool=("npu-smi", "info", "-l"),
            install="pip install 'pangu-jax[ascend]'",
        ),
    )
}


def versions(packages: Sequence[str]) -> dict[str, str]:
    """Of those that are installed."""
    found = {}
    for package in packages:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def library(platform: Platform) -> Path | None:
    """The PJRT plugin, a file; None where it is not installed, or not built. Loads nothing of it."""
    if platform.name == "npu":
        return ascend.built()
    if platform.name == "tpu" and (named := os.environ.get("TPU_LIBRARY_PATH")):
        return Path(named)
    for package, file in platform.plugins:
        try:
            spec = importlib.util.find_spec(package)
        except ModuleNotFoundError:  # the package above it
            continue
        for folder in spec.submodule_search_locations or () if spec else ():
            if (path := Path(folder) / file).is_file():
                return path
    return None
