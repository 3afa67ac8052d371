"""Functions that programs on npu may call by name: LAPACK of jaxlib, and what `jax.ffi` registers for npu.

jaxlib has them for platform cpu; here they are made known to the CPU plugin inside. They speak XLA's typed
foreign function interface, which is C and keeps its word to functions that are older than the plugin: those
of a newer jaxlib are not found when they are called, though they were taken (tried: jaxlib 0.12 in XLA of
0.11.2).
"""

import ctypes
import re
from typing import Any

import jaxlib
from jax._src.interpreters import mlir
from jax._src.lax import linalg
from jaxlib import lapack, xla_client
from jaxlib.xla_client import CustomCallTargetTraits

from tpu_npu_backends.ascend.plugin import PLATFORM, library
from tpu_npu_backends.errors import BackendError

_TYPED = 1  # api_version of jax.ffi.register_ffi_target
_SAID_SIZE = 4096

# What JAX can lower to LAPACK only (svd comes down to eigh). It has other ways for cholesky, lu, qr and
# solve, which use no functions of the host and so are the ones an Ascend device could take.
_LAPACK_ONLY = ("eig", "eigh", "geqp3", "hessenberg", "schur", "tridiagonal")


def register(loaded: ctypes.CDLL) -> None:
    """Gives the plugin LAPACK, and JAX a way to give it more. After platform npu is registered."""

    def handler(
        name: str,
        function: Any,
        platform: str,
        /,
        api_version: int = 0,
        traits: CustomCallTargetTraits = CustomCallTargetTraits.DEFAULT,
    ) -> None:
        register_function(loaded, name, function, api_version)

    xla_client.register_custom_call_handler(PLATFORM, handler)
    if is_too_new(jaxlib.__version__):
        return
    for name, function, api_version in lapack.registrations()["cpu"]:
        if api_version == _TYPED:
            register_function(loaded, name, function, api_version)
    for name in _LAPACK_ONLY:
        primitive = getattr(linalg, f"{name}_p", None)
        if primitive is None:
            continue
        entry = mlir._platform_specific_lowerings["cpu"].get(primitive)
        if entry is not None:
            mlir.register_lowering(primitive, entry.rule, platform=PLATFORM)


def is_too_new(version: str) -> bool:
    """Whether functions of that jaxlib are newer than the CPU plugin inside."""
    return _numbers(version) > _numbers(library.inner_version())


def _numbers(version: str) -> list[int]:
    return [int(number) for number in re.findall("[0-9]+", version)[:3]]


def register_function(loaded: ctypes.CDLL, name: str, function: Any, api_version: int) -> None:
    """Makes a function known; a capsule, or {"execute": capsule}. BackendError where it cannot be called."""
    if isinstance(function, dict) and function.keys() == {"execute"}:
        function = function["execute"]
    if api_version != _TYPED or isinstance(function, dict):
        raise BackendError(f"foreign function {name!r}: npu takes those with api_version=1 and one stage")
    if is_too_new(jaxlib.__version__):
        raise BackendError(
            f"foreign function {name!r}: npu takes those of jaxlib {library.inner_version()} and older, "
            f"and this is {jaxlib.__version__}"
        )
    said = ctypes.create_string_buffer(_SAID_SIZE)
    answer = loaded.pangu_ascend_register_function(name.encode(), _pointer(function), said, _SAID_SIZE)
    if answer:
        raise BackendError(f"foreign function {name!r}: {said.value.decode(errors='replace')}")


def _pointer(capsule: Any) -> ctypes.c_void_p:
    api = ctypes.pythonapi
    api.PyCapsule_GetName.restype = ctypes.c_char_p
    api.PyCapsule_GetPointer.restype = ctypes.c_void_p
    api.PyCapsule_GetName.argtypes = (ctypes.py_object,)
    api.PyCapsule_GetPointer.argtypes = (ctypes.py_object, ctypes.c_char_p)
    return ctypes.c_void_p(api.PyCapsule_GetPointer(capsule, api.PyCapsule_GetName(capsule)))
