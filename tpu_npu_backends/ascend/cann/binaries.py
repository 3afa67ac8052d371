"""Device binaries of kernels: the last step of the kernel compiler, which only CANN has.

bishengir-compile, of the wheel, starts CANN's hivmc itself: it asks for its version, chooses arguments and
bitcode to go with that, and hands it the kernel. So here it runs once more on each kernel, with CANN's
folder first where it looks for programs. Never run on hardware, nor with a real hivmc.
"""

import os
import re
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tpu_npu_backends import shared_libraries
from tpu_npu_backends.ascend.cann.installation import Installation
from tpu_npu_backends.errors import BackendError

SECONDS_A_KERNEL = 300
_SECONDS_FOR_A_VERSION = 30

# What bishengir-compile 1.2 expects of `hivmc --version` before it trusts it.
_VERSION = re.compile(
    r"^hivmc ([0-9]+\.[0-9]+\.[0-9]+) \([0-9a-fA-F]{6,40} [0-9]{4}-[0-9]{2}-[0-9]{2}\)$", re.M
)

# Source of a kernel, target, output -> the command that compiles it, as `compiler.bishengir.command`.
Command = Callable[[Path, str, Path], list[str]]


def hivmc_of(installation: Installation) -> Path:
    """The compiler of device binaries; BackendError where this CANN has none."""
    if installation.hivmc is None:
        raise BackendError(
            f"CANN {installation.version} in {installation.home} has no hivmc, so no device binary can be "
            f"written; install a toolkit with the BiSheng IR compiler (tools/bishengir)"
        )
    return installation.hivmc


def hivmc_version(installation: Installation) -> str:
    """Such as "0.1.0"; BackendError where this CANN has no hivmc, or one that does not say what it is."""
    hivmc = hivmc_of(installation)
    try:
        said = subprocess.run(
            [hivmc, "--version"], capture_output=True, text=True, timeout=_SECONDS_FOR_A_VERSION
        ).stdout
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BackendError(f"{hivmc} --version: {error}; is this toolkit for this machine?") from None
    match = _VERSION.search(said)
    if match is None:
        raise BackendError(
            f"{hivmc} says {said.strip()[:80]!r} of its version, which is none that is known here; "
            f"install the CANN toolkit again, or one of 8.2 up to 9.x"
        )
    return match[1]


def build(
    sources: Sequence[Path],
    target: str,
    installation: Installation,
    command: Command,
    on_progress: Callable[[str, int, int], None] | None = None,
) -> list[Path]:
    """Device binaries, each beside its source as NAME.o.

    Args:
      sources: kernels as bishengir-compile reads them, NAME.mlir each.
      target: chip, such as "Ascend910B1".
      installation: CANN.
      command: gives the command line that compiles one.
      on_progress: called with what is done, how many are and of how many. As many are built at once as there
        are cores.

    Raises:
      BackendError: one cannot be built; what hivmc said, in one line.
    """
    hivmc_version(installation)
    folder = hivmc_of(installation).parent
    environment = dict(os.environ, PATH=f"{folder}{os.pathsep}{os.environ.get('PATH', '')}")
    environment.pop("BISHENG_INSTALL_PATH", None)  # bishengir-compile would look there first
    binaries = []
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        waiting = [pool.submit(_build_one, source, target, command, environment) for source in sources]
        try:
            for done, one in enumerate(waiting):
                if on_progress:
                    on_progress("device binaries", done, len(sources))
                binaries.append(one.result())
        finally:
            pool.shutdown(cancel_futures=True)
    return binaries


def _build_one(source: Path, target: str, command: Command, environment: dict[str, str]) -> Path:
    binary = source.with_suffix(".o")
    with tempfile.TemporaryDirectory(dir=source.parent) as folder:
        fresh = Path(folder) / binary.name
        try:
            ran = subprocess.run(
                command(source, target, fresh),
                env=environment,
                capture_output=True,
                text=True,
                timeout=SECONDS_A_KERNEL,
            )
        except subprocess.TimeoutExpired:
            raise BackendError(f"hivmc took more than {SECONDS_A_KERNEL} s for {source.name}") from None
        if ran.returncode or not fresh.is_file():
            raise BackendError(f"hivmc did not compile {source.name}: {_reason(ran.stderr)}")
        if not shared_libraries.is_elf(fresh):
            raise BackendError(f"what hivmc wrote for {source.name} is no ELF object, so no device binary")
        fresh.replace(binary)
    return binary


def _reason(said: str) -> str:
    """The first line of an error, or the last line there is."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    errors = [line for line in lines if "error" in line.lower()]
    return (errors or lines[-1:] or ["it said nothing"])[0][:300]
