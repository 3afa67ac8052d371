"""The cube core's matrix product.

At this level HIVM has one macro, hivm.hir.matmul, from global memory to global memory: how the device's
library cuts it for L1 and L0 is not in the kernel's text, and so neither simulated nor checked.
"""

import numpy as np
from jaxlib.mlir import ir

from tpu_npu_backends.ascend.simulator import parsing
from tpu_npu_backends.ascend.simulator.building import Function, Operation, Step, views
from tpu_npu_backends.ascend.simulator.faults import Fault
from tpu_npu_backends.ascend.simulator.synchronisation import NUMBER

# Which operand group is which, by the operation's definition (HIVMMacroOps.td).
_GROUPS = (
    "a",
    "b",
    "tiling",
    "bias",
    "descale",
    "blocks",
    "processes",
    "offset",
    "direction",
    "epilogue",
    "c",
)


def product(a_MxK: np.ndarray, b_KxN: np.ndarray) -> np.ndarray:
    """[M, N] of float32, from floats accumulated in float32, or int32, from int8 exactly."""
    if a_MxK.dtype.kind == "i":
        # Exact in BLAS: a float64 holds every sum of products of int8, a float32 those of up to 1024.
        exact = np.float32 if a_MxK.shape[1] <= 1024 else np.float64
        return np.matmul(a_MxK.astype(exact), b_KxN.astype(exact)).astype(np.int32)
    return np.matmul(a_MxK, b_KxN)


def _matmul(op: ir.Operation, function: Function) -> Step:
    """C = descale * (A B + bias), read by MTE2, written by FIX. Each block computes rows of its own."""
    where, numbers = function.where(op), function.numbers(op.operands)
    found = dict(zip(_GROUPS, parsing.segments(op), strict=True))
    at = {name: numbers[begin] for name, (begin, end) in found.items() if end > begin}
    a_transposed, b_transposed = "aTranspose" in op.attributes, "bTranspose" in op.attributes
    reads, fix = NUMBER["PIPE_MTE2"], NUMBER["PIPE_FIX"]

    def step(core) -> None:
        registers = core.registers
        a, b, c = (registers[at[name]] for name in "abc")
        bias, descale = (registers[at[name]] if name in at else None for name in ("bias", "descale"))
        a_MxK, b_KxN = a.read(), b.read()
        a_MxK = a_MxK.T if a_transposed else a_MxK
        b_KxN = b_KxN.T if b_transposed else b_KxN
        if a_MxK.shape[1] != b_KxN.shape[0] or c.shape != (a_MxK.shape[0], b_KxN.shape[1]):
            raise Fault("out of bounds", f"{a_MxK.shape} times {b_KxN.shape} into {c.shape}", where)
        rows = -(-c.shape[0] // core.blocks)
        begin, end = min(core.block * rows, c.shape[0]), min((core.block + 1) * rows, c.shape[0])
        if begin == end:
            return
        itemsize = c.dtype.itemsize
        mine = c.with_layout(
            c.start + begin * c.strides[0] * itemsize, (end - begin, c.shape[1]), c.strides, where
        )
        core.issue(reads, views([a, b, bias, descale]), (mine,), where, write_pipe=fix)
        core.loaded += (end - begin) * a_MxK.shape[1] * a.dtype.itemsize + b.nbytes
        core.stored += mine.nbytes
        c_MxN = product(a_MxK[begin:end], b_KxN)
        if bias is not None:
            c_MxN = c_MxN + bias.read()
        if descale is not None:
            c_MxN = c_MxN * descale.read()
        mine.write(c_MxN)

    return step


OPERATIONS = {"hivm.hir.matmul": Operation(_matmul)}
