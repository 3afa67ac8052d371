"""Runs a launch plan here: kernels by the simulator, what is left to the host by NumPy."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from tpu_npu_backends.ascend.compiler import evaluating
from tpu_npu_backends.ascend.compiler.graph import DTYPES
from tpu_npu_backends.ascend.compiler.plan import (
    Branch,
    ExecutionPlan,
    Host,
    Launch,
    Loop,
    SliceAt,
    Step,
    UpdateAt,
)

if TYPE_CHECKING:
    from tpu_npu_backends.ascend import simulator


class Executor:
    """Runs plans.

    Args:
      instructions: kernel -> HIVM as instructions, generic form.
      constants: name -> values; a scalar fills a whole buffer.
    """

    def __init__(self, instructions: Mapping[str, str], constants: Mapping[str, np.ndarray]):
        self._instructions = instructions
        self._constants = constants
        self._kernels: dict[str, simulator.SimulatedKernel] = {}

    def run(self, plan: ExecutionPlan, arguments: Sequence[np.ndarray]) -> list[np.ndarray]:
        """What the program returns."""
        memory: list[np.ndarray | None] = [None] * len(plan.buffers)
        for number, name in plan.constants.items():
            buffer = plan.buffers[number]
            memory[number] = np.broadcast_to(self._constants[name], buffer.shape).astype(DTYPES[buffer.dtype])
        for number, argument in zip(plan.arguments, arguments, strict=True):
            memory[number] = argument
        for step in plan.steps:
            self._do(plan, step, memory)
        return [
            np.asarray(memory[number]).reshape(shape)
            for number, shape in zip(plan.results, plan.result_shapes, strict=True)
        ]

    def _do(self, plan: ExecutionPlan, step: Step, memory: list) -> None:
        match step:
            case Launch():
                self._launch(plan, step, memory)
            case Host():
                self._host(plan, step, memory)
            case SliceAt():
                self._slice_at(step, memory)
            case UpdateAt():
                self._update_at(plan, step, memory)
            case Loop():
                self._loop(step, memory)
            case Branch():
                self._branch(step, memory)

    def _launch(self, plan: ExecutionPlan, step: Launch, memory: list) -> None:
        inputs = [
            np.ascontiguousarray(memory[number]).reshape(shape)
            for number, shape in zip(step.inputs, step.input_shapes, strict=True)
        ]
        wanted = [
            (tuple(shape), DTYPES[plan.buffers[number].dtype])
            for number, shape in zip(step.outputs, step.output_shapes, strict=True)
        ]
        made = self._kernel(step.kernel).run(inputs, wanted)
        for number, array in zip(step.outputs, made, strict=True):
            memory[number] = np.asarray(array).reshape(plan.buffers[number].shape)

    def _kernel(self, key: str) -> "simulator.SimulatedKernel":
        if key not in self._kernels:
            from tpu_npu_backends.ascend import simulator

            self._kernels[key] = simulator.SimulatedKernel.parse(self._instructions[key])
        return self._kernels[key]

    def _host(self, plan: ExecutionPlan, step: Host, memory: list) -> None:
        arrays = [
            np.asarray(memory[number]).reshape(shape)
            for number, shape in zip(step.inputs, step.input_shapes, strict=True)
        ]
        if step.op == "sort":
            for number, array in zip(step.outputs, evaluating.sort(step.facts, arrays), strict=True):
                memory[number] = array
            return
        (output,) = step.outputs
        buffer = plan.buffers[output]
        memory[output] = evaluating.evaluate(step.op, step.facts, arrays, buffer.shape, buffer.dtype)

    def _slice_at(self, step: SliceAt, memory: list) -> None:
        source = memory[step.input].reshape(step.input_shape)
        starts = _clamped(memory, step.starts, source.shape, step.sizes)
        window = tuple(slice(at, at + size) for at, size in zip(starts, step.sizes, strict=True))
        memory[step.output] = source[window].copy()

    def _update_at(self, plan: ExecutionPlan, step: UpdateAt, memory: list) -> None:
        target = memory[step.input].reshape(plan.buffers[step.output].shape).copy()
        starts = _clamped(memory, step.starts, target.shape, step.update_shape)
        window = tuple(slice(at, at + size) for at, size in zip(starts, step.update_shape, strict=True))
        target[window] = memory[step.update].reshape(step.update_shape)
        memory[step.output] = target

    def _loop(self, step: Loop, memory: list) -> None:
        values = [memory[number] for number in step.inputs]
        carried, trip = len(step.outputs), 0
        while True:
            if step.condition is not None:
                if not bool(self.run(step.condition, values)[0]):
                    break
            elif trip == step.trips:
                break
            elif step.counter is not None:
                counter = np.asarray(values[step.counter])
                values[step.counter] = np.full(counter.shape, step.start + trip * step.step, counter.dtype)
            values[:carried] = self.run(step.body, values)
            trip += 1
        for number, value in zip(step.outputs, values[:carried], strict=True):
            memory[number] = value

    def _branch(self, step: Branch, memory: list) -> None:
        index = int(memory[step.index])
        last = len(step.branches) - 1
        chosen = step.branches[index if 0 <= index <= last else last]
        made = self.run(chosen, [memory[number] for number in step.inputs])
        for number, value in zip(step.outputs, made, strict=True):
            memory[number] = value


def _clamped(memory: list, starts: Sequence[int], shape: Sequence[int], sizes: Sequence[int]) -> list[int]:
    """Where a slice begins, moved so that it lies inside, as HLO reads."""
    return [
        min(max(int(memory[start]), 0), whole - size)
        for start, whole, size in zip(starts, shape, sizes, strict=True)
    ]
