"""bishengir-compile, Huawei's compiler of Ascend kernels, as the wheel ascendnpu-ir ships it."""

import importlib.metadata
import importlib.util
import itertools
import platform
from pathlib import Path

from tpu_npu_backends.errors import BackendError
from tpu_npu_backends.shared_libraries import require_for_this_machine

INSTALL = "pip install 'pangu-jax[ascend]'"
PACKAGE = "ascendnpu-ir"

# Chips that `bishengir-compile --help` names besides 950's, which have another compiler: 910B, and 910C
# (Atlas A3), which go by numbers. The numbers of cores and the sizes of memories differ.
TARGETS = (
    *("Ascend910B1", "Ascend910B2", "Ascend910B2C", "Ascend910B3", "Ascend910B4", "Ascend910B4-1"),
    *("Ascend910_9362", "Ascend910_9372", "Ascend910_9381", "Ascend910_9382", "Ascend910_9391"),
    "Ascend910_9392",
)

# The graph-sync solver leaves out the synchronisation between cube and vector cores (ascendnpu-ir 1.2).
FLAGS = (
    "-enable-hfusion-compile=true",
    "-enable-hivm-compile=true",
    "--enable-hivm-cross-core-gss=false",
)

_FLAG_MARK = "// bishengir-compile "


def check_target(name: str) -> str:
    """The name itself; BackendError with the choices for a chip that the compiler does not know."""
    if name not in TARGETS:
        raise BackendError(f"unknown Ascend target {name!r}: there are {', '.join(TARGETS)}")
    return name


def tool() -> Path:
    """The program; BackendError where it is not installed, or for another processor."""
    if platform.machine() not in ("x86_64", "aarch64") or platform.system() != "Linux":
        here = f"{platform.system()} on {platform.machine()}"
        raise BackendError(
            f"there is no compiler of Ascend kernels for {here}: it needs Linux, x86_64 or aarch64"
        )
    spec = importlib.util.find_spec("ascendnpuir")
    if spec is None or spec.origin is None:
        raise BackendError(f"the compiler of Ascend kernels is not installed: {INSTALL}")
    return require_for_this_machine(Path(spec.origin).parent / "bin" / "bishengir-compile", INSTALL)


def version() -> str:
    """Of the wheel, such as "1.2.0"; BackendError as `tool` raises it."""
    tool()
    return importlib.metadata.version(PACKAGE)


def with_flags(text: str, *flags: str) -> str:
    """A kernel's text that says which further flags it is compiled with, as comments on top."""
    return "".join(f"{_FLAG_MARK}{flag}\n" for flag in flags) + text


def flags_of(text: str) -> tuple[str, ...]:
    """The further flags that a kernel's text says it is compiled with."""
    lines = itertools.takewhile(lambda line: line.startswith(_FLAG_MARK), text.splitlines())
    return tuple(line.removeprefix(_FLAG_MARK) for line in lines)


def command(source: Path, target: str, output: Path) -> list[str]:
    """The command line that compiles one kernel; hivmc, which it ends with, is looked for in PATH."""
    further = flags_of(source.read_text("utf-8"))
    return [str(tool()), str(source), *FLAGS, *further, f"--target={target}", "-o", str(output)]
