"""AscendCL, the runtime of CANN, by ctypes: which devices there are, and how much memory they have.

Signatures are those of the documentation ("AscendCL API (C)", CANN 8.x) and of acl_rt.h. Tested against a
small library of the tests that has the same functions; never run on hardware.
"""

import ctypes
from collections.abc import Generator
from contextlib import contextmanager
from ctypes import POINTER, c_char_p, c_int, c_int32, c_size_t, c_uint32
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tpu_npu_backends.errors import BackendError

_SUCCESS = 0
_REPEATED_INITIALISATION = 100002  # ACL_ERROR_REPEAT_INITIALIZE: somebody in this process was first
_HBM = 1  # aclrtMemAttr: ACL_HBM_MEM
_KNOWN_MAJOR = 1  # of AscendCL itself, which all of CANN 5 to 9 say

_FUNCTIONS: dict[str, tuple[Any, list[Any]]] = {
    "aclInit": (c_int, [c_char_p]),
    "aclFinalize": (c_int, []),
    "aclGetRecentErrMsg": (c_char_p, []),
    "aclrtGetVersion": (c_int, [POINTER(c_int32)] * 3),
    "aclrtGetDeviceCount": (c_int, [POINTER(c_uint32)]),
    "aclrtSetDevice": (c_int, [c_int32]),
    "aclrtResetDevice": (c_int, [c_int32]),
    "aclrtGetSocName": (c_char_p, []),
    "aclrtGetMemInfo": (c_int, [c_int, POINTER(c_size_t), POINTER(c_size_t)]),
}


@dataclass(frozen=True)
class Device:
    """One Ascend chip. Memory in bytes, without what the system keeps."""

    index: int
    soc_name: str
    free_bytes: int
    total_bytes: int


class Acl:
    """The functions of libascendcl.so. `open_` makes one."""

    def __init__(self, path: Path):
        self._path = path
        try:
            library = ctypes.CDLL(str(path))
        except OSError as error:  # such as a library of the driver that is not there
            raise BackendError(f"{error}; is the Ascend driver installed, and set_env.sh sourced?") from None
        missing = [name for name in _FUNCTIONS if not hasattr(library, name)]
        if missing:
            raise BackendError(f"{path} has no {', '.join(missing)}: it is no AscendCL of CANN 8.2 or later")
        for name, (result, arguments) in _FUNCTIONS.items():
            function = getattr(library, name)
            function.restype, function.argtypes = result, arguments
        self._library = library

    def _call(self, name: str, *arguments: Any) -> None:
        status = getattr(self._library, name)(*arguments)
        if status != _SUCCESS:
            said = (self._library.aclGetRecentErrMsg() or b"").decode("utf-8", "replace").strip()
            first_line = said.partition("\n")[0]
            raise BackendError(
                f"{name} of {self._path} failed with {status}{f' ({first_line})' if first_line else ''}; "
                f"look at `npu-smi info` and at CANN's list of aclError"
            )

    def initialise(self) -> bool:
        """aclInit; False where this process had done it already, and its owner will end it."""
        status = self._library.aclInit(None)
        if status == _REPEATED_INITIALISATION:
            return False
        if status != _SUCCESS:
            raise BackendError(
                f"aclInit of {self._path} failed with {status}; is the Ascend driver running (npu-smi info)?"
            )
        return True

    def finalise(self) -> None:
        """aclFinalize. Nothing hangs on its status: whatever was asked has been answered, or has failed."""
        self._library.aclFinalize()

    def version(self) -> str:
        """Of AscendCL, such as "1.12.0"; BackendError for one whose functions may have other arguments."""
        numbers = [c_int32() for _ in range(3)]
        self._call("aclrtGetVersion", *map(ctypes.byref, numbers))
        version = ".".join(str(number.value) for number in numbers)
        if numbers[0].value != _KNOWN_MAJOR:
            raise BackendError(f"{self._path} is AscendCL {version}, and {_KNOWN_MAJOR}.x is known here")
        return version

    def devices(self) -> list[Device]:
        """Every chip, asked one after the other; each is given back at once."""
        count = c_uint32()
        self._call("aclrtGetDeviceCount", ctypes.byref(count))
        return [self._device(index) for index in range(count.value)]

    def _device(self, index: int) -> Device:
        self._call("aclrtSetDevice", index)
        try:
            free, total = c_size_t(), c_size_t()
            self._call("aclrtGetMemInfo", _HBM, ctypes.byref(free), ctypes.byref(total))
            name = self._library.aclrtGetSocName()
            if not name:
                raise BackendError(f"aclrtGetSocName of {self._path} names no chip for device {index}")
            return Device(index, name.decode("utf-8", "replace"), free.value, total.value)
        finally:
            self._library.aclrtResetDevice(index)


@contextmanager
def open_(path: Path) -> Generator[Acl]:
    """AscendCL, initialised, and ended again where this began it.

    Args:
      path: libascendcl.so, of `Installation.acl_library`.

    Raises:
      BackendError: it cannot be loaded, lacks a function, or a call of it failed.
    """
    acl = Acl(path)
    began = acl.initialise()
    try:
        yield acl
    finally:
        if began:
            acl.finalise()
