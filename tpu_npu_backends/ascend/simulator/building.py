"""Operations to Python closures: each runs once per parse, its closure once per step of the kernel."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from jaxlib.mlir import ir

from tpu_npu_backends.ascend.simulator import parsing
from tpu_npu_backends.ascend.simulator.core import Core
from tpu_npu_backends.ascend.simulator.faults import Fault
from tpu_npu_backends.ascend.simulator.memory import View

Step = Callable[[Core], None]


@dataclass(frozen=True)
class BlockingStep:
    """A step that may have to wait for another core: `drive` yields what it waits for."""

    drive: Callable[[Core], Iterator[str]]


@dataclass(frozen=True)
class Block:
    """Steps in order, and the registers of the terminator's operands."""

    steps: tuple[Step | BlockingStep, ...]
    results: tuple[int, ...]

    def plain_steps(self) -> tuple[Step, ...] | None:
        """The steps, to be called one after the other; None when one of them may have to wait."""
        plain = tuple(step for step in self.steps if not isinstance(step, BlockingStep))
        return plain if len(plain) == len(self.steps) else None

    def drive(self, core: Core) -> Iterator[str]:
        for step in self.steps:
            if isinstance(step, BlockingStep):
                yield from step.drive(core)
            else:
                step(core)


class FunctionBuilder:
    """Builds the closures of one function.

    Values that depend on nothing but the core and the arguments are computed once, in `prologue`: of the
    views in a loop's body only those that move are made anew each time.
    """

    def __init__(self, name: str, operations: "dict[str, Operation]") -> None:
        self.name, self._operations = name, operations
        self._numbers: dict[ir.Value, int] = {}
        self._invariant: set[int] = set()
        self._allocations = 0
        self.prologue: list[Step] = []

    def number(self, value: ir.Value) -> int:
        """The register of an SSA value."""
        return self._numbers.setdefault(value, len(self._numbers))

    def numbers(self, values: Sequence[ir.Value]) -> tuple[int, ...]:
        return tuple(self.number(value) for value in values)

    def arguments(self, values: Sequence[ir.Value]) -> tuple[int, ...]:
        numbers = self.numbers(values)
        self._invariant.update(numbers)
        return numbers

    @property
    def registers(self) -> int:
        return len(self._numbers)

    def allocation(self) -> int:
        """A new number for a buffer."""
        self._allocations += 1
        return self._allocations - 1

    def where(self, op: ir.Operation) -> str:
        return parsing.where(op, self.name)

    def block(self, block: ir.Block) -> Block:
        steps: list[Step | BlockingStep] = []
        results: tuple[int, ...] = ()
        for op in block.operations:
            op = op.operation
            if op.name in ("func.return", "scf.yield", "scf.condition"):
                results = self.numbers(op.operands)
                continue
            known = self._operations.get(op.name)
            if known is None:
                raise Fault("unsupported", f"operation {op.name}", self.where(op))
            step = known.build(op, self)
            if step is None:
                continue
            numbers = self.numbers(op.operands)
            if known.pure and not isinstance(step, BlockingStep):
                if all(number in self._invariant for number in numbers):
                    self.prologue.append(step)
                    self._invariant.update(self.numbers(op.results))
                    continue
                if len(op.results) == 1 and not _is_global(op.results[0].type):
                    step = _remembering(step, numbers, self.number(op.results[0]))
            steps.append(step)
        return Block(tuple(steps), results)


@dataclass(frozen=True)
class Operation:
    """How an operation becomes a closure; `pure` ones only compute a value from their operands and the core.

    `build` gives None for an operation without effect here.
    """

    build: Callable[[ir.Operation, FunctionBuilder], Step | BlockingStep | None]
    pure: bool = False


def _is_global(type_: ir.Type) -> bool:
    """Views of global memory are not remembered: they would keep a launch's arrays alive."""
    return parsing.is_memref(type_) and parsing.memref_of(type_).space == "gm"


def _remembering(step: Step, operands: tuple[int, ...], result: int) -> Step:
    """A step that is skipped while its operands are what they were: views in a loop's body mostly are."""
    last_operands, last_result = None, None

    def remembering(core: Core) -> None:
        nonlocal last_operands, last_result
        registers = core.registers
        now = [registers[number] for number in operands]
        if now != last_operands:
            step(core)
            last_operands, last_result = now, registers[result]
        registers[result] = last_result

    return remembering


def views(values: Sequence) -> tuple[View, ...]:
    """Those operands that are views and not scalars."""
    return tuple(value for value in values if type(value) is View)
