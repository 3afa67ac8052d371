"""Control flow, and the operations that order pipes and cores."""

from collections.abc import Iterator, Sequence

from jaxlib.mlir import ir

from tpu_npu_backends.ascend.simulator import parsing
from tpu_npu_backends.ascend.simulator.building import (
    Block,
    BlockingStep,
    FunctionBuilder,
    Operation,
    Step,
)
from tpu_npu_backends.ascend.simulator.faults import Fault
from tpu_npu_backends.ascend.simulator.synchronisation import NUMBER


def _assign(registers: list, numbers: Sequence[int], values: Sequence) -> None:
    for number, value in zip(numbers, values, strict=True):
        registers[number] = value


def _for(op: ir.Operation, function: FunctionBuilder) -> Step | BlockingStep:
    """scf.for, with values carried from one iteration to the next."""
    low, high, step_by, *initial = function.numbers(op.operands)
    results = function.numbers(op.results)
    (region,) = op.regions
    counter, *carried = function.numbers(region.blocks[0].arguments)
    body = function.block(region.blocks[0])
    steps = body.plain_steps()

    def drive(core) -> Iterator[str]:
        registers = core.registers
        values = [registers[n] for n in initial]
        for i in range(registers[low], registers[high], registers[step_by]):
            registers[counter] = i
            _assign(registers, carried, values)
            yield from body.drive(core)
            values = [registers[n] for n in body.results]
        _assign(registers, results, values)

    if steps is None:
        return BlockingStep(drive)

    def step(core) -> None:
        registers = core.registers
        values = [registers[n] for n in initial]
        for i in range(registers[low], registers[high], registers[step_by]):
            registers[counter] = i
            _assign(registers, carried, values)
            for one in steps:
                one(core)
            values = [registers[n] for n in body.results]
        _assign(registers, results, values)

    return step


def _while(op: ir.Operation, function: FunctionBuilder) -> Step | BlockingStep:
    """scf.while: the first region gives the condition and the values, the second the next ones."""
    initial, results = function.numbers(op.operands), function.numbers(op.results)
    first, second = (region.blocks[0] for region in op.regions)
    before_arguments, after_arguments = function.numbers(first.arguments), function.numbers(second.arguments)
    before, after = function.block(first), function.block(second)

    def drive(core) -> Iterator[str]:
        registers = core.registers
        values = [registers[n] for n in initial]
        while True:
            _assign(registers, before_arguments, values)
            yield from before.drive(core)
            going, *values = (registers[n] for n in before.results)
            if not going:
                break
            _assign(registers, after_arguments, values)
            yield from after.drive(core)
            values = [registers[n] for n in after.results]
        _assign(registers, results, values)

    return BlockingStep(drive)


def _if(op: ir.Operation, function: FunctionBuilder) -> Step | BlockingStep:
    (condition,), results = function.numbers(op.operands), function.numbers(op.results)
    yes, no = (
        function.block(region.blocks[0]) if len(region.blocks) else Block((), ()) for region in op.regions
    )
    yes_steps, no_steps = yes.plain_steps(), no.plain_steps()

    def drive(core) -> Iterator[str]:
        registers = core.registers
        branch = yes if registers[condition] else no
        yield from branch.drive(core)
        _assign(registers, results, [registers[n] for n in branch.results])

    if yes_steps is None or no_steps is None:
        return BlockingStep(drive)

    def step(core) -> None:
        registers = core.registers
        branch, steps = (yes, yes_steps) if registers[condition] else (no, no_steps)
        for one in steps:
            one(core)
        _assign(registers, results, [registers[n] for n in branch.results])

    return step


def _pipe(op: ir.Operation, attribute: str, function: FunctionBuilder) -> int:
    name = parsing.text_of(op, attribute)
    if name not in NUMBER:
        raise Fault("unsupported", f"pipe {name}", function.where(op))
    return NUMBER[name]


def _event(op: ir.Operation, function: FunctionBuilder) -> tuple[str, int | None]:
    """A static event's name, or the register of a dynamic one."""
    if "static_event_id" in op.attributes:
        return parsing.text_of(op, "static_event_id"), None
    return "", function.number(op.operands[0])


def _set_flag(op: ir.Operation, function: FunctionBuilder) -> Step:
    setter, waiter = _pipe(op, "set_pipe", function), _pipe(op, "wait_pipe", function)
    event, register = _event(op, function)

    def step(core) -> None:
        name = event if register is None else f"EVENT_ID{core.registers[register]}"
        core.pipes.set_flag((setter, waiter, name), setter)

    return step


def _wait_flag(op: ir.Operation, function: FunctionBuilder) -> Step:
    where = function.where(op)
    setter, waiter = _pipe(op, "set_pipe", function), _pipe(op, "wait_pipe", function)
    event, register = _event(op, function)

    def step(core) -> None:
        name = event if register is None else f"EVENT_ID{core.registers[register]}"
        core.pipes.wait_flag((setter, waiter, name), waiter, where)

    return step


def _pipe_barrier(op: ir.Operation, function: FunctionBuilder) -> Step:
    if parsing.text_of(op, "pipe") == "PIPE_ALL":
        return lambda core: core.pipes.barrier_all()
    pipe = _pipe(op, "pipe", function)
    return lambda core: core.pipes.barrier(pipe)


def _flag_number(op: ir.Operation, function: FunctionBuilder) -> tuple[int, int | None]:
    if "static_flag_id" in op.attributes:
        return parsing.integer(op, "static_flag_id"), None
    return 0, function.number(op.operands[0])


def _sync_block_set(op: ir.Operation, function: FunctionBuilder) -> Step:
    """Once the pipe's instructions so far have ended, this core's part of a flag between cores."""
    pipe, (flag, register) = _pipe(op, "tpipe", function), _flag_number(op, function)
    mode = parsing.text_of(op, "tsync_instr_mode", "INTRA_BLOCK_SYNCHRONIZATION")

    def step(core) -> None:
        number = flag if register is None else core.registers[register]
        core.flags.set(core.number, number, mode, core.pipes.snapshot(pipe))

    return step


def _sync_block_wait(op: ir.Operation, function: FunctionBuilder) -> BlockingStep:
    """What the pipe does next waits for a flag between cores."""
    where = function.where(op)
    pipe, (flag, register) = _pipe(op, "pipe", function), _flag_number(op, function)

    def drive(core) -> Iterator[str]:
        number = flag if register is None else core.registers[register]
        while (clock := core.flags.take(core.number, number)) is None:
            yield f"core {core.number} ({core.kind}) waits for flag {number} at {where}"
        core.pipes.learn(pipe, clock)

    return BlockingStep(drive)


def _nothing(op: ir.Operation, function: FunctionBuilder) -> None:
    return None


OPERATIONS = {
    "scf.for": Operation(_for),
    "scf.while": Operation(_while),
    "scf.if": Operation(_if),
    "hivm.hir.set_flag": Operation(_set_flag),
    "hivm.hir.wait_flag": Operation(_wait_flag),
    "hivm.hir.pipe_barrier": Operation(_pipe_barrier),
    "hivm.hir.sync_block_set": Operation(_sync_block_set),
    "hivm.hir.sync_block_wait": Operation(_sync_block_wait),
    "hivm.hir.set_mask_norm": Operation(_nothing),
    "hivm.hir.set_ffts_base_addr": Operation(_nothing),
    "annotation.mark": Operation(_nothing),
}
