"""The version of the PJRT C API that a plugin was built with, asked of the plugin itself."""

import ctypes
from dataclasses import dataclass
from pathlib import Path

from tpu_npu_backends.errors import BackendError


class _Version(ctypes.Structure):
    """PJRT_Api_Version of pjrt_c_api.h."""

    _fields_ = (
        ("struct_size", ctypes.c_size_t),
        ("extension_start", ctypes.c_void_p),
        ("major", ctypes.c_int),
        ("minor", ctypes.c_int),
    )


class _Api(ctypes.Structure):
    """How PJRT_Api begins; what follows are functions, more of them with every version."""

    _fields_ = (
        ("struct_size", ctypes.c_size_t),
        ("extension_start", ctypes.c_void_p),
        ("version", _Version),
    )


@dataclass(frozen=True)
class PluginApi:
    """What a plugin says of itself; `struct_size` in bytes, of its table of functions."""

    major: int
    minor: int
    struct_size: int


def read(library: Path) -> PluginApi:
    """Loads the plugin, and starts nothing. BackendError where it cannot be loaded, or is no plugin."""
    try:
        get = ctypes.CDLL(str(library)).GetPjrtApi
    except OSError as error:
        raise BackendError(f"{library} cannot be loaded: {error}") from None
    except AttributeError:
        raise BackendError(f"{library} is no PJRT plugin: it has no GetPjrtApi") from None
    get.restype = ctypes.POINTER(_Api)
    pointer = get()
    if not pointer:
        raise BackendError(f"{library} gives no PJRT API")
    api = pointer.contents
    return PluginApi(api.version.major, api.version.minor, api.struct_size)
