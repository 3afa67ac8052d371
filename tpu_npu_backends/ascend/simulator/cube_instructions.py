"""The cube core's instructions.

Two kinds of kernels have them. `hivm.hir.matmul` is one macro from global memory to global memory: how the
device's library cuts it for L1 and L0 is not in the kernel's text, and so neither simulated nor checked. The
other kind moves tiles itself: nd2nz to L1, mmadL1 from L1 to L0C, fixpipe from L0C to global memory.

Matrices in L1 and L0C are in fractals of 16 rows ("NZ"): [C, R] of columns and rows in fractals becomes
[columns / c, rows / 16, 16, c], with c elements in 32 bytes in L1, and 16 in L0C.
"""

import numpy as np
from jaxlib.mlir import ir

from tpu_npu_backends.ascend.simulator import parsing
from tpu_npu_backends.ascend.simulator.building import FunctionBuilder, Operation, Step, views
from tpu_npu_backends.ascend.simulator.core import Core
from tpu_npu_backends.ascend.simulator.faults import Fault
from tpu_npu_backends.ascend.simulator.memory import SIZES, View
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


def _matmul(op: ir.Operation, function: FunctionBuilder) -> Step:
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
        if "tiling" in at:
            _check_tiling(registers[at["tiling"]], a.dtype.itemsize, core, where)
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


def _check_tiling(struct: View, width: int, core: Core, where: str) -> None:
    """That the tiles which the host chose fit: key, then m, n, k of L1 and of L0, and more."""
    core.issue(NUMBER["PIPE_S"], (struct,), (), where)
    _, m1, n1, k1, m0, n0, k0, *_ = struct.read().tolist()
    needed = {
        "cbuf": (m1 + n1) * k1 * width,
        "ca": m0 * k0 * width,
        "cb": n0 * k0 * width,
        "cc": m1 * n1 * 4,  # float32 or int32 sums
    }
    for space, size in needed.items():
        if size > SIZES[space]:
            raise Fault(
                "out of bounds", f"tiles take {size} bytes of {space}, which has {SIZES[space]}", where
            )


def _to_fractals(matrix_RxC: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """[C / c, R / 16, 16, c], filled up with zeros."""
    columns, rows, height, width = shape
    padded = np.zeros((rows * height, columns * width), matrix_RxC.dtype)
    padded[: matrix_RxC.shape[0], : matrix_RxC.shape[1]] = matrix_RxC
    return padded.reshape(rows, height, columns, width).transpose(2, 0, 1, 3)


def _from_fractals(fractals: np.ndarray) -> np.ndarray:
    """[R, C], with what fills up the last fractals."""
    columns, rows, height, width = fractals.shape
    return fractals.transpose(1, 2, 0, 3).reshape(rows * height, columns * width)


def _nd2nz(op: ir.Operation, function: FunctionBuilder) -> Step:
    """hivm.hir.nd2nz: a matrix of global memory to fractals in L1, by MTE2."""
    where, (source, target, *_) = function.where(op), function.numbers(op.operands)
    pipe = NUMBER["PIPE_MTE2"]

    def step(core) -> None:
        there, here = core.registers[source], core.registers[target]
        columns, rows, height, width = here.shape
        if there.shape[0] > rows * height or there.shape[1] > columns * width:
            raise Fault("out of bounds", f"moves {list(there.shape)} into fractals {list(here.shape)}", where)
        core.issue(pipe, (there,), (here,), where)
        core.loaded += there.nbytes
        here.array[...] = _to_fractals(there.array, here.shape)

    return step


_MMAD_GROUPS = ("a", "b", "initial", "m", "k", "n", "c", "events", "unit_flags", "bias")


def _mmad(op: ir.Operation, function: FunctionBuilder) -> Step:
    """hivm.hir.mmadL1: C = (0 or C) + A B, from L1 by MTE1 and M to L0C.

    The macro waits for the flags of MTE2 that its first two event numbers name, and sets those back to MTE2
    that the next two name, once it has read L1; -1 means none. Its own steps through L0A and L0B, and
    its accumulations, it orders itself.
    """
    where, numbers = function.where(op), function.numbers(op.operands)
    found = dict(zip(_MMAD_GROUPS, parsing.segments(op), strict=True))
    a_at, b_at, initial_at, m_at, k_at, n_at, c_at = (numbers[found[name][0]] for name in _MMAD_GROUPS[:7])
    events_at = numbers[slice(*found["events"])]
    if found["bias"][1] > found["bias"][0] or "unit_flag_mode" in op.attributes:
        raise Fault("unsupported", "mmadL1 with a bias or a unit flag", where)
    a_transposed, b_transposed = "a_transpose" in op.attributes, "b_transpose" in op.attributes
    mte2, mte1, cube = NUMBER["PIPE_MTE2"], NUMBER["PIPE_MTE1"], NUMBER["PIPE_M"]

    def step(core) -> None:
        registers, pipes = core.registers, core.pipes
        a, b, c = registers[a_at], registers[b_at], registers[c_at]
        m, k, n = registers[m_at], registers[k_at], registers[n_at]
        events = [int(registers[number]) for number in events_at]
        for event in events[:2]:
            if event >= 0:
                pipes.wait_flag((mte2, mte1, f"EVENT_ID{event}"), mte1, where)
        pipes.barrier(cube)
        keeps = not registers[initial_at]
        core.issue(mte1, (a, b), (), where)
        for event in events[2:4]:
            if event >= 0:
                pipes.set_flag((mte1, mte2, f"EVENT_ID{event}"), mte1)
        pipes.learn(cube, pipes.snapshot(mte1))
        core.issue(cube, (c,) if keeps else (), (c,), where)
        left, right = _from_fractals(a.read()), _from_fractals(b.read())
        a_MxK = (left.T if a_transposed else left)[:m, :k]
        b_KxN = (right.T if b_transposed else right)[:k, :n]
        if a_MxK.shape != (m, k) or b_KxN.shape != (k, n):
            raise Fault(
                "out of bounds", f"[{m}, {k}] times [{k}, {n}] of {left.shape} and {right.shape}", where
            )
        sums = _to_fractals(product(a_MxK, b_KxN), c.shape)
        c.write(c.read() + sums if keeps else sums)

    return step


def _fixpipe(op: ir.Operation, function: FunctionBuilder) -> Step:
    """hivm.hir.fixpipe: L0C to a matrix of global memory, by FIX, rounded to its type, or after a ReLU."""
    where, (source, target, *more) = function.where(op), function.numbers(op.operands)
    relu = parsing.text_of(op, "pre_relu", "no_relu").lower()
    if more or "unit_flag_mode" in op.attributes or relu not in ("no_relu", "normal_relu"):
        raise Fault("unsupported", "fixpipe with a unit flag, a quantisation scale or another ReLU", where)
    pipe = NUMBER["PIPE_FIX"]

    def step(core) -> None:
        here, there = core.registers[source], core.registers[target]
        columns, rows, height, width = here.shape
        if there.shape[0] > rows * height or there.shape[1] > columns * width:
            raise Fault("out of bounds", f"moves fractals {list(here.shape)} to {list(there.shape)}", where)
        core.issue(pipe, (here,), (there,), where)
        core.stored += there.nbytes
        values = _from_fractals(here.read())[: there.shape[0], : there.shape[1]]
        there.write(np.maximum(values, 0) if relu == "normal_relu" else values)

    return step


OPERATIONS = {
    "hivm.hir.matmul": Operation(_matmul),
    "hivm.hir.nd2nz": Operation(_nd2nz),
    "hivm.hir.mmadL1": Operation(_mmad),
    "hivm.hir.fixpipe": Operation(_fixpipe),
}
