"""A kernel: parsed once, run as often as one likes."""

import math
import re
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from jaxlib.mlir import ir

from tpu_npu_backends.ascend.simulator import (
    control,
    cube_instructions,
    data_movement,
    parsing,
    scalars,
    vector_instructions,
    views,
)
from tpu_npu_backends.ascend.simulator.building import Block, FunctionBuilder, Step
from tpu_npu_backends.ascend.simulator.core import Core
from tpu_npu_backends.ascend.simulator.faults import Fault
from tpu_npu_backends.ascend.simulator.memory import Accesses, Memory, View, row_major, tag
from tpu_npu_backends.ascend.simulator.synchronisation import CrossCoreFlags

OPERATIONS = {
    **scalars.OPERATIONS,
    **views.OPERATIONS,
    **control.OPERATIONS,
    **data_movement.OPERATIONS,
    **vector_instructions.OPERATIONS,
    **cube_instructions.OPERATIONS,
}


@dataclass(frozen=True)
class Argument:
    """What a function's argument is.

    Attributes:
      kind: "input", "output", "workspace", "tiling_struct" (which a function of the host fills),
        "sync_block_lock" (locks that nothing here takes), or "scalar" for what is no memory (the address of
        the flags, the grid of a Triton-style kernel).
      index: which input or output.
      type: of a memory; None for a scalar.
      register: where the function expects it.
    """

    kind: str
    index: int
    type: parsing.MemRef | None
    register: int


@dataclass(frozen=True)
class EntryPoint:
    """A function that the device starts, or one that the host runs before."""

    name: str
    kind: str  # "AIC", "AIV" or "host"
    mixed: bool  # one of two for both kinds of core
    arguments: tuple[Argument, ...]
    prologue: tuple[Step, ...]
    body: Block
    registers: int


@dataclass(frozen=True)
class Usage:
    """What a kernel takes of the chip.

    Attributes:
      core_types: kinds of core, sorted.
      block_dim: how many blocks it is launched with.
      bytes: highest planned byte by address space ("ub"; a cube kernel's L1 and L0 are its library's matter).
      instructions: vector, cube and move instructions in the text, not times executed.
    """

    core_types: tuple[str, ...]
    block_dim: int
    bytes: dict[str, int]
    instructions: int


@dataclass
class KernelTraffic:
    """What kernels have moved: launches, and bytes from and to global memory."""

    launches: int = 0
    loaded: int = 0
    stored: int = 0


_counting: list[KernelTraffic] = []


@contextmanager
def counting() -> Generator[KernelTraffic]:
    """Counts what all kernels run within move."""
    traffic = KernelTraffic()
    _counting.append(traffic)
    try:
        yield traffic
    finally:
        _counting.pop()


class SimulatedKernel:
    """A kernel of instruction-level HIVM as a program of closures.

    Attributes:
      entries: its functions.
      usage: what it takes of the chip.
      loaded, stored: bytes moved from and to global memory by the last run.
    """

    def __init__(
        self, entries: tuple[EntryPoint, ...], tilings: tuple[EntryPoint, ...], usage: Usage
    ) -> None:
        self.entries, self.usage, self._tilings = entries, usage, tilings
        self.loaded = self.stored = 0

    @classmethod
    def parse(cls, text: str) -> "SimulatedKernel":
        """From generic-form HIVM as it is before convert-hivm-to-std.

        Raises:
          Fault: "unsupported" names an operation that the simulator does not know.
        """
        module = parsing.parse_module(text)
        with module.context:
            functions = [op.operation for op in module.body.operations]
            device = [f for f in functions if parsing.text_of(f, "hacc.function_kind") == "DEVICE"]
            entries = tuple(_entry(f) for f in device if "hacc.entry" in f.attributes)
            if not entries:
                raise Fault("unsupported", "no function with hacc.entry", "module")
            dims = [parsing.integer(f, "hacc.block_dim") for f in device if "hacc.block_dim" in f.attributes]
            tilings = tuple(
                _entry(f, host=True)
                for f in functions
                if parsing.text_of(f, "hacc.host_func_type") == "tiling_function"
            )
            used, instructions = _planned(device)
        kinds = tuple(sorted({entry.kind for entry in entries}))
        return cls(entries, tilings, Usage(kinds, max(dims, default=1), used, instructions))

    def run(
        self, inputs: Sequence[np.ndarray], outputs: Sequence[tuple[Sequence[int], np.dtype]]
    ) -> list[np.ndarray]:
        """Runs all blocks of the kernel.

        Args:
          inputs: by input_idx; of the bytes that the kernel's types have.
          outputs: shape and dtype by output_idx.

        Raises:
          Fault: the kernel does what would not work on the device.
        """
        results = [np.empty(tuple(shape), dtype) for shape, dtype in outputs]
        memories = {
            ("input", i): Memory(f"input {i}", _bytes(x), checked=False) for i, x in enumerate(inputs)
        }
        memories |= {("output", i): Memory(f"output {i}", _bytes(x)) for i, x in enumerate(results)}
        for tiling in self._tilings:
            _run_on_host(tiling, memories)
        cores, flags = self._cores(memories)
        with np.errstate(all="ignore"):
            _run_together([(core, _drive(core, entry)) for core, entry in cores])
        _check_end([core for core, _ in cores], flags)
        for (kind, _), memory in memories.items():
            if kind == "output" and not memory.tags.all():
                missing = int((memory.tags == 0).sum())
                raise Fault(
                    "unwritten", f"{missing} bytes of {memory.name} are never written", self.entries[0].name
                )
        self.loaded = sum(core.loaded for core, _ in cores)
        self.stored = sum(core.stored for core, _ in cores)
        for traffic in _counting:
            traffic.launches += 1
            traffic.loaded += self.loaded
            traffic.stored += self.stored
        return results

    def _cores(self, memories: dict) -> tuple[list[tuple[Core, EntryPoint]], CrossCoreFlags]:
        """Each core of the launch, its arguments in place, with the function that it runs."""
        places = [
            (entry, block, sub_block, sub_blocks)
            for entry in self.entries
            for sub_blocks in [2 if entry.mixed and entry.kind == "AIV" else 1]
            for block in range(self.usage.block_dim)
            for sub_block in range(sub_blocks)
        ]
        flags = CrossCoreFlags([(entry.kind, block) for entry, block, _, _ in places])
        cores = []
        for number, (entry, block, sub_block, sub_blocks) in enumerate(places):
            core = Core(
                number, len(places), entry.kind, block, self.usage.block_dim, sub_block, sub_blocks, flags
            )
            core.registers = [None] * entry.registers
            for argument in entry.arguments:
                core.registers[argument.register] = _place(argument, memories, entry.name)
            cores.append((core, entry))
        return cores, flags


def _bytes(array: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8)


def _place(argument: Argument, memories: dict, function: str) -> View | int:
    """An argument's view of its memory; a workspace is made when its first core asks for it."""
    type_, key = argument.type, (argument.kind, argument.index)
    if type_ is None:
        return 0
    shape = tuple(length or 0 for length in type_.shape)  # one of unknown size is one of none
    needed = math.prod(shape) * type_.dtype.itemsize
    if argument.kind in ("workspace", "sync_block_lock", "tiling_struct") and key not in memories:
        memories[key] = Memory(argument.kind, np.zeros(needed, np.uint8))
    if key not in memories or memories[key].data.size != needed:
        given = memories[key].data.size if key in memories else "none"
        raise Fault(
            "arguments", f"{argument.kind} {argument.index} has {needed} bytes, given {given}", function
        )
    return View(
        memories[key],
        0,
        shape,
        row_major(shape),
        type_.dtype,
        (0, needed),
        tag(0),
        False,
        function,
    )


def _run_on_host(entry: EntryPoint, memories: dict) -> None:
    """Runs a function that fills a struct for the device; the launch is ordered after it."""
    core = Core(0, 1, entry.kind, 0, 1, 0, 1, CrossCoreFlags([(entry.kind, 0)]))
    core.registers = [None] * entry.registers
    for argument in entry.arguments:
        core.registers[argument.register] = _place(argument, memories, entry.name)
    for _ in _drive(core, entry):
        raise Fault("deadlock", "the host waits for a core", entry.name)
    for memory in memories.values():
        memory.accesses = Accesses()


def _drive(core: Core, entry: EntryPoint) -> Iterator[str]:
    for step in entry.prologue:
        step(core)
    yield from entry.body.drive(core)


def _run_together(running: list[tuple[Core, Iterator[str]]]) -> None:
    """Each core in turn until it waits, always in the same order: a run is the same every time."""
    while running:
        waiting, moved = [], False
        for core, steps in running:
            state = core.flags.arrivals
            reason = next(steps, None)
            moved |= reason is None or core.flags.arrivals != state or core.waits != reason
            core.waits = reason
            if reason is not None:
                waiting.append((core, steps))
        if waiting and not moved:
            raise Fault("deadlock", "; ".join(core.waits for core, _ in waiting), "all cores wait")
        running = waiting


def _check_end(cores: list[Core], flags: CrossCoreFlags) -> None:
    for core in cores:
        left = core.pipes.left_set()
        if left:
            raise Fault("unbalanced sync", "still set at the end: " + ", ".join(left), f"core {core.number}")
    if left := flags.left_set():
        raise Fault("unbalanced sync", "still set at the end: " + ", ".join(left), "between cores")


def _entry(op: ir.Operation, host: bool = False) -> EntryPoint:
    name = ir.StringAttr(op.attributes["sym_name"]).value
    kind = "host" if host else parsing.text_of(op, "hivm.func_core_type")
    if kind not in ("AIC", "AIV", "host"):
        raise Fault("unsupported", f"core type {kind}", name)
    function = FunctionBuilder(name, OPERATIONS)
    block = op.regions[0].blocks[0]
    registers = function.arguments(block.arguments)
    attributes = [str(attribute) for attribute in ir.ArrayAttr(op.attributes["arg_attrs"])]
    arguments = tuple(
        _argument(text, value.type, register)
        for text, value, register in zip(attributes, block.arguments, registers, strict=True)
    )
    body = function.block(block)
    return EntryPoint(
        name,
        kind,
        "hivm.part_of_mix" in op.attributes,
        arguments,
        tuple(function.prologue),
        body,
        function.registers,
    )


def _argument(attributes: str, type_: ir.Type, register: int) -> Argument:
    kind = re.search(r"arg_type<(\w+)>", attributes)
    index = re.search(r"(?:input|output)_idx<(\d+)>", attributes)
    if not parsing.is_memref(type_):
        return Argument("scalar", 0, None, register)
    memref = parsing.memref_of(type_)
    if None in memref.shape and (not kind or kind[1] not in ("workspace", "sync_block_lock")):
        raise Fault("unsupported", "an argument of dynamic shape", f"argument {register}")
    return Argument(kind[1] if kind else "none", int(index[1]) if index else 0, memref, register)


def _planned(functions: list[ir.Operation]) -> tuple[dict[str, int], int]:
    """The highest planned byte by address space, and how many instructions there are."""
    used, instructions, constants = {}, 0, {}

    def visit(op) -> None:
        nonlocal instructions
        op = op.operation
        if op.name == "arith.constant" and "value" in op.attributes:
            constants[op.results[0]] = op.attributes["value"]
        elif op.name == "hivm.hir.pointer_cast":
            type_ = parsing.memref_of(op.results[0].type)
            bits = math.prod(length or 0 for length in type_.shape) * type_.bits
            for operand in op.operands:
                if operand in constants and isinstance(constants[operand], ir.IntegerAttr):
                    end = constants[operand].value + -(-bits // 8)
                    used[type_.space] = max(used.get(type_.space, 0), end)
        elif op.name in _INSTRUCTIONS:
            instructions += 1
        for region in op.regions:
            for block in region.blocks:
                for inner in block.operations:
                    visit(inner)

    for function in functions:
        if "hacc.entry" in function.attributes:
            visit(function)
    return used, instructions


_INSTRUCTIONS = {**data_movement.OPERATIONS, **vector_instructions.OPERATIONS, **cube_instructions.OPERATIONS}
