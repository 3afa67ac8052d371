"""Moves between global memory and UB, and within UB."""

import numpy as np
from jaxlib.mlir import ir

from tpu_npu_backends.ascend.simulator import parsing
from tpu_npu_backends.ascend.simulator.building import FunctionBuilder, Operation, Step
from tpu_npu_backends.ascend.simulator.faults import Fault
from tpu_npu_backends.ascend.simulator.synchronisation import NUMBER


def _load(op: ir.Operation, function: FunctionBuilder) -> Step:
    """hivm.hir.load: global memory to UB, by MTE2; a longer last dimension of the buffer is padded."""
    where, numbers = function.where(op), function.numbers(op.operands)
    groups = parsing.segments(op)
    source, target = numbers[0], numbers[1]
    pad, left = (numbers[groups[i][0]] if groups[i][1] > groups[i][0] else None for i in (2, 3))
    pipe = NUMBER["PIPE_MTE2"]

    def step(core) -> None:
        registers = core.registers
        there, here = registers[source], registers[target]
        core.loaded += there.nbytes
        if there.shape == here.shape:
            core.issue(pipe, (there,), (here,), where)
            here.array[...] = there.array
            return
        if pad is None or there.shape[:-1] != here.shape[:-1]:
            raise Fault("out of bounds", f"loads {list(there.shape)} into {list(here.shape)}", where)
        begin = int(registers[left]) if left is not None else 0
        end = begin + there.shape[-1]
        if end > here.shape[-1]:
            raise Fault("out of bounds", f"loads elements {begin} to {end} of {here.shape[-1]}", where)
        core.issue(pipe, (there,), (here,), where)
        here.array[...] = registers[pad]
        here.array[..., begin:end] = there.array

    return step


_ATOMICS = {"add": np.add, "max": np.maximum, "min": np.minimum}


def _store(op: ir.Operation, function: FunctionBuilder) -> Step:
    """hivm.hir.store: UB to global memory, by MTE3; atomic ones combine with what is there."""
    where, (source, target, *_) = function.where(op), function.numbers(op.operands)
    kind, pipe = parsing.text_of(op, "atomic_kind", "none"), NUMBER["PIPE_MTE3"]
    if kind != "none" and kind not in _ATOMICS:
        raise Fault("unsupported", f"atomic {kind}", where)

    def step(core) -> None:
        here, there = core.registers[source], core.registers[target]
        if here.shape != there.shape:
            raise Fault("out of bounds", f"stores {list(here.shape)} into {list(there.shape)}", where)
        core.stored += there.nbytes
        if kind == "none":
            core.issue(pipe, (here,), (there,), where)
            there.array[...] = here.array
        else:
            core.issue(pipe, (here, there), (there,), where)
            there.write(_ATOMICS[kind](there.read(), here.read()))

    return step


def _copy(op: ir.Operation, function: FunctionBuilder) -> Step:
    """hivm.hir.copy: UB to UB, by the vector unit."""
    where, (source, target, *_) = function.where(op), function.numbers(op.operands)

    def step(core) -> None:
        here, there = core.registers[source], core.registers[target]
        if here.shape != there.shape:
            raise Fault("out of bounds", f"copies {list(here.shape)} into {list(there.shape)}", where)
        core.issue(NUMBER["PIPE_V"], (here,), (there,), where)
        there.write(here.read())

    return step


OPERATIONS = {
    "hivm.hir.load": Operation(_load),
    "hivm.hir.store": Operation(_store),
    "hivm.hir.copy": Operation(_copy),
}
