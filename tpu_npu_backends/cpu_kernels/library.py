"""Where the kernels' library is, and telling JAX of it."""

import ctypes
import functools
import hashlib
import importlib.util
import os
import platform
from pathlib import Path

from tpu_npu_backends import compiled_library, user_cache

NAME = "libpangu_cpu_kernels.so"
BUILD = "make kernels, or python -m tpu_npu_backends.cpu_kernels.build"
TARGETS = (
    *("pangu_few_columns", "pangu_few_queries"),
    *("pangu_matmul", "pangu_flash", "pangu_flash_backward", "pangu_sum_of_squares"),
    *("pangu_linear", "pangu_linear_gelu", "pangu_linear_times", "pangu_column_sums"),
    *("pangu_self_flash", "pangu_self_flash_backward", "pangu_layer_norm", "pangu_layer_norm_backward"),
    *("pangu_windows", "pangu_windows_backward", "pangu_grouped", "pangu_grouped_gradient"),
)
SWITCH = "PANGU_CPU_KERNELS"  # 0: as if they were not built

SOURCES = Path(__file__).parent
# For this processor, which `path` names. Contracted products round as XLA's own do.
FLAGS = (
    *("-std=c++17", "-O3", "-march=native", "-ffp-contract=fast", "-Wall", "-Wextra"),
    *("-fPIC", "-shared", "-fvisibility=hidden"),
)


def header_folder() -> Path:
    """The headers of XLA's FFI, which jaxlib ships."""
    spec = importlib.util.find_spec("jaxlib")
    assert spec and spec.origin, "jaxlib is installed with this package"
    return Path(spec.origin).parent / "include"


def path() -> Path:
    """Where the library of these sources for this processor is, once it is built: in the user's cache."""
    return user_cache.folder() / "cpu_kernels" / made_from() / NAME


@functools.cache
def made_from() -> str:
    """A digest of the sources, the headers, the flags and the processor."""
    headers = sorted(header_folder().glob("xla/ffi/api/*.h"))
    return compiled_library.digest((*FLAGS, _processor()), (*compiled_library.sources(SOURCES), *headers))


def built() -> bool:
    """Whether they can be used: they are built, and not switched off by PANGU_CPU_KERNELS=0."""
    return os.environ.get(SWITCH) != "0" and path().is_file()


@functools.cache
def register() -> bool:
    """Tells JAX of the kernels, once; whether there are any."""
    if not built():
        return False
    import jax

    library = ctypes.CDLL(str(path()))
    for name in TARGETS:
        jax.ffi.register_ffi_target(name, jax.ffi.pycapsule(getattr(library, name)), platform="cpu")
    return True


def _processor() -> str:
    """What -march=native depends on: a home folder may be shared by machines of several kinds."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return f"{platform.machine()} {platform.processor()}"
    kinds = ("model name", "flags", "Features", "CPU part")
    said = sorted({line for line in lines if line.split("\t")[0].strip() in kinds})
    return hashlib.sha256("\n".join([platform.machine(), *said]).encode()).hexdigest()
