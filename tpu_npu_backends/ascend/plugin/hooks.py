"""The Python end of hooks.h: what the plugin shows of programs, as Python values."""

import ctypes
import enum
import logging
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import ml_dtypes
import numpy as np

_log = logging.getLogger(__name__)


class HookAnswer(enum.IntEnum):
    """PanguAnswer of hooks.h."""

    GO_ON = 0
    WATCH_EXECUTIONS = 1
    REFUSE = 2


class RefusedError(Exception):
    """Raised by a hook: the program is not to run on, and JAX raises this text."""


@dataclass(frozen=True)
class CompiledProgram:
    """A program as PJRT's Compile got it.

    Attributes:
      id: under which its executions are shown.
      name: of the module, such as "jit_step".
      code: StableHLO, portable bytecode; not partitioned, with its sharding annotations.
      format: "mlir".
      devices: on how many it runs: replicas times partitions.
    """

    id: int
    name: str
    code: bytes
    format: str
    devices: int


class _Program(ctypes.Structure):
    """PanguProgram of hooks.h."""

    _fields_ = (
        ("id", ctypes.c_uint64),
        ("code", ctypes.c_void_p),
        ("code_size", ctypes.c_size_t),
        ("format", ctypes.c_void_p),
        ("format_size", ctypes.c_size_t),
        ("name", ctypes.c_void_p),
        ("name_size", ctypes.c_size_t),
        ("replicas", ctypes.c_int64),
        ("partitions", ctypes.c_int64),
    )


class _Array(ctypes.Structure):
    """PanguArray of hooks.h."""

    _fields_ = (
        ("data", ctypes.c_void_p),
        ("size", ctypes.c_size_t),
        ("type", ctypes.c_int32),
        ("rank", ctypes.c_size_t),
        ("dims", ctypes.POINTER(ctypes.c_int64)),
    )


_COMPILED = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(_Program), ctypes.c_void_p, ctypes.c_size_t)
# `executed` and `called` look alike.
_SHOWN = ctypes.CFUNCTYPE(
    ctypes.c_int,
    ctypes.c_uint64,
    ctypes.POINTER(_Array),
    ctypes.c_size_t,
    ctypes.POINTER(_Array),
    ctypes.c_size_t,
    ctypes.c_void_p,
    ctypes.c_size_t,
)


class _Hooks(ctypes.Structure):
    """PanguHooks of hooks.h."""

    _fields_ = (("compiled", _COMPILED), ("executed", _SHOWN), ("called", _SHOWN))


# PJRT_Buffer_Type of pjrt_c_api.h, by position from 1 on.
_DTYPES = (
    *(np.bool_, np.int8, np.int16, np.int32, np.int64, np.uint8, np.uint16, np.uint32, np.uint64),
    *(np.float16, np.float32, np.float64, ml_dtypes.bfloat16, np.complex64, np.complex128),
)

_TOKEN = 23  # PJRT_Buffer_Type_TOKEN

# The functions that the plugin was given must live as long as it may call them.
_installed: list[_Hooks] = []


def install(
    library: ctypes.CDLL,
    called: Callable[[int, list[np.ndarray]], Sequence[np.ndarray]],
    compiled: Callable[[CompiledProgram], HookAnswer] | None = None,
    executed: Callable[[int, list[np.ndarray], list[np.ndarray]], None] | None = None,
) -> None:
    """Gives the plugin the functions that it may call; any may raise RefusedError.

    Args:
      library: what `library.load` returned.
      called: called where a program calls back to Python, with a number and its arguments; returns results.
      compiled: called for each program; whether its executions are to be shown.
      executed: called with the program's id, its inputs as they were before, and its outputs; after each
        execution of a watched program, on one device.
    """

    def on_compiled(program, said, said_size):
        def answer() -> HookAnswer:
            if compiled is None:
                return HookAnswer.GO_ON
            it = program.contents
            return compiled(
                CompiledProgram(
                    id=it.id,
                    name=ctypes.string_at(it.name, it.name_size).decode(errors="replace"),
                    code=ctypes.string_at(it.code, it.code_size),
                    format=ctypes.string_at(it.format, it.format_size).decode(),
                    devices=it.replicas * it.partitions,
                )
            )

        return _guarded(answer, said, said_size)

    def on_executed(id, inputs, num_inputs, outputs, num_outputs, said, said_size):
        def answer() -> HookAnswer:
            if executed is not None:
                executed(id, _arrays(inputs, num_inputs), _arrays(outputs, num_outputs))
            return HookAnswer.GO_ON

        return _guarded(answer, said, said_size)

    def on_called(index, inputs, num_inputs, outputs, num_outputs, said, said_size):
        def answer() -> HookAnswer:
            results = called(index, _arrays(inputs, num_inputs))
            for target, result in zip((outputs[i] for i in range(num_outputs)), results, strict=True):
                _fill(target, result)
            return HookAnswer.GO_ON

        return _guarded(answer, said, said_size)

    given = _Hooks(
        _COMPILED(on_compiled) if compiled else _COMPILED(),
        _SHOWN(on_executed) if executed else _SHOWN(),
        _SHOWN(on_called),
    )
    _installed.append(given)
    library.pangu_ascend_set_hooks(ctypes.byref(given))


def remove(library: ctypes.CDLL) -> None:
    """No function is called from now on."""
    library.pangu_ascend_set_hooks(None)


def _guarded(answer: Callable[[], HookAnswer], said: int, said_size: int) -> int:
    """No exception may leave a callback: ctypes would print and forget it."""
    try:
        return answer()
    except RefusedError as error:
        text = str(error)
    except BaseException as error:
        _log.exception("a hook of the Ascend plugin failed")
        last = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{last.filename}:{last.lineno}"
        text = f"the Ascend plugin's hook failed at {where}: {type(error).__name__}: {error}"
    # Cut between characters, with room for the end.
    encoded = text.encode()[: said_size - 1].decode(errors="ignore").encode()
    ctypes.memmove(said, encoded + b"\0", len(encoded) + 1)
    return HookAnswer.REFUSE


def _arrays(first, count: int) -> list[np.ndarray]:
    """Copies: the plugin's memory ends with the call. A token is an empty array."""
    return [_array(first[i]) for i in range(count)]


def _array(it: _Array) -> np.ndarray:
    if it.type == _TOKEN:
        return np.empty(0, np.bool_)
    if not 1 <= it.type <= len(_DTYPES):
        raise RefusedError(f"arrays of PJRT_Buffer_Type {it.type} cannot be shown to Python")
    dtype = np.dtype(_DTYPES[it.type - 1])
    shape = tuple(it.dims[i] for i in range(it.rank))
    return np.frombuffer(ctypes.string_at(it.data, it.size), dtype).reshape(shape)


def _fill(target: _Array, result: np.ndarray) -> None:
    if target.type == _TOKEN:
        return
    data = np.ascontiguousarray(result)
    if data.nbytes != target.size:
        raise RefusedError(f"a callback gave {data.nbytes} bytes, {target.size} were promised")
    ctypes.memmove(target.data, data.ctypes.data, target.size)
