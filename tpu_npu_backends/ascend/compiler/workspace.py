"""Where buffers lie: temporaries share memory when they do not live at the same time."""

from collections.abc import Sequence
from dataclasses import replace

from tpu_npu_backends.ascend.compiler.graph import DTYPES
from tpu_npu_backends.ascend.compiler.plan import (
    Branch,
    Buffer,
    ExecutionPlan,
    Host,
    Launch,
    Loop,
    SliceAt,
    Step,
    UpdateAt,
)

_ALIGNMENT = 512  # bytes, as aclrtMalloc gives


def bytes_of(buffer: Buffer) -> int:
    """What a buffer takes, a boolean one byte."""
    size = DTYPES[buffer.dtype].itemsize
    for each in buffer.shape:
        size *= each
    return size


def reads(step: Step) -> list[int]:
    """The buffers that a step reads."""
    if isinstance(step, SliceAt):
        return [step.input, *step.starts]
    if isinstance(step, UpdateAt):
        return [step.input, step.update, *step.starts]
    if isinstance(step, Branch):
        return [step.index, *step.inputs]
    return step.inputs


def writes(step: Step) -> list[int]:
    """The buffers that a step writes."""
    return step.outputs if isinstance(step, Launch | Host | Loop | Branch) else [step.output]


def assign(plan: ExecutionPlan) -> None:
    """Give each temporary of a plan the lowest offset that is free while it lives."""
    fixed = {*plan.arguments, *plan.results, *plan.constants}
    first, last = _lifetimes(plan.steps)
    placed: list[tuple[int, int, int, int]] = []  # offset, end, first, last
    for number in sorted(first, key=lambda each: -bytes_of(plan.buffers[each])):
        if number in fixed:
            continue
        size = -(-bytes_of(plan.buffers[number]) // _ALIGNMENT) * _ALIGNMENT
        begins, ends = first[number], last.get(number, first[number])
        others = sorted(p for p in placed if p[2] <= ends and begins <= p[3])
        offset = 0
        for start, end, _, _ in others:
            if offset + size <= start:
                break
            offset = max(offset, end)
        placed.append((offset, offset + size, begins, ends))
        plan.buffers[number] = replace(plan.buffers[number], offset=offset)
    plan.workspace_bytes = max((end for _, end, _, _ in placed), default=0)


def _lifetimes(steps: Sequence[Step]) -> tuple[dict[int, int], dict[int, int]]:
    first: dict[int, int] = {}
    last: dict[int, int] = {}
    for time, step in enumerate(steps):
        for number in writes(step):
            first.setdefault(number, time)
        for number in (*reads(step), *writes(step)):
            last[number] = time
    return first, last
