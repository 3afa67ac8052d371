"""Where the plugin's parts are: its library, the header to build it from, the CPU plugin inside. No JAX."""

import ctypes
import functools
import importlib.metadata
import importlib.util
import os
from pathlib import Path

from tpu_npu_backends import compiled_library, user_cache
from tpu_npu_backends.errors import BackendError
from tpu_npu_backends.shared_libraries import require_for_this_machine

NAME = "libpjrt_ascend.so"
HEADER = "xla/pjrt/c/pjrt_c_api.h"
BUILD = "make ascend, or python -m tpu_npu_backends.ascend.plugin.build"
INSTALL = "pip install 'pangu-jax[ascend]'"

SOURCES = Path(__file__).parent
FLAGS = ("-std=c++17", "-O2", "-Wall", "-Wextra", "-fPIC", "-shared", "-fvisibility=hidden")

# The wheel that ships the headers of the PJRT C API.
_HEADERS = ("tensorflow", "include")
_INNER_WHEEL = "lammps-jax-pjrt-cpu"
_INNER = ("lammps_jax_pjrt_cpu", "pjrt_c_api_cpu_plugin.so")


def sources() -> list[Path]:
    """The C++ files, in a fixed order."""
    return compiled_library.sources(SOURCES)


def header_folder() -> Path:
    """Where xla/pjrt/c/pjrt_c_api.h is found, in an installed wheel; BackendError where it is not."""
    package, inside = _HEADERS
    folder = _package(package)
    if folder is None or not (folder / inside / HEADER).is_file():
        raise BackendError(
            f"no installed package ships {HEADER}, which the plugin for npu is built from: "
            f"pip install {package}"
        )
    return folder / inside


def inner_path() -> Path:
    """The XLA CPU plugin that is wrapped: that of the extra, or PANGU_ASCEND_INNER."""
    named = os.environ.get("PANGU_ASCEND_INNER")
    if named:
        return require_for_this_machine(Path(named), "PANGU_ASCEND_INNER names it")
    package, name = _INNER
    folder = _package(package)
    if folder is None:
        raise BackendError(f"the XLA CPU plugin on which npu is simulated is not installed: {INSTALL}")
    return require_for_this_machine(folder / name, INSTALL)


def inner_version() -> str:
    """The jaxlib whose XLA the inner plugin is built from: the version of its wheel."""
    return importlib.metadata.version(_INNER_WHEEL)


def path() -> Path:
    """Where the library of these sources and headers is, once it is built.

    In the user's cache, in a folder named by what it is made from.
    """
    return user_cache.folder() / "ascend" / f"plugin-{made_from()}" / NAME


@functools.cache
def made_from() -> str:
    """A digest of the sources, the headers and the flags."""
    return compiled_library.digest(FLAGS, (*sources(), *_headers()))


def built() -> Path | None:
    """The library, or None when it is not built yet (or cannot be: no header)."""
    try:
        return path() if path().is_file() else None
    except BackendError:
        return None


def load() -> ctypes.CDLL:
    """The library with the inner plugin in it, ready for JAX. Starts no client.

    Raises:
      BackendError: it is not built, the inner plugin is missing, for another processor, or speaks another
        version of the PJRT API.
    """
    if not path().is_file():
        raise BackendError(f"the plugin for npu is not built: {BUILD}")
    library = ctypes.CDLL(str(require_for_this_machine(path(), BUILD)))
    library.pangu_ascend_open.restype = ctypes.c_char_p
    library.pangu_ascend_open.argtypes = (ctypes.c_char_p,)
    library.pangu_ascend_register_function.argtypes = (
        *(ctypes.c_char_p, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t),
    )
    wrong = library.pangu_ascend_open(os.fsencode(inner_path()))
    if wrong:
        raise BackendError(wrong.decode())
    return library


def _headers() -> list[Path]:
    """What the sources include, directly or not."""
    folder = header_folder() / "xla"
    return sorted((*folder.glob("pjrt/c/pjrt_c_api*.h"), *folder.glob("ffi/api/*.h")))


def _package(name: str) -> Path | None:
    """The folder of a package, without importing it."""
    spec = importlib.util.find_spec(name)
    return Path(spec.origin).parent if spec and spec.origin else None
