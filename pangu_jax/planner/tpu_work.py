"""What an instruction of a program for TPUs takes: the compiler's own cycles, or bytes where it says none.

Gathers, scatters and sorts have no `estimated_cycles`, alone or in a fusion. They are held to read and write
what they give once, at a part of the memory's rate: a lower bound, above all for sorts.
"""

from pangu_jax.planner.gpu_work import BANDWIDTH
from pangu_jax.planner.hlo import Instruction, Module
from tpu_npu_backends.chips import Chip

BY_PLACE = ("gather", "scatter", "sort")


def seconds(module: Module, instruction: Instruction, chip: Chip) -> float:
    """Of an instruction on the core that is no loop, branch, kernel or collective."""
    if instruction.cycles:
        return instruction.cycles / chip.clock_hz if chip.clock_hz else 0.0
    if not _is_by_place(module, instruction):
        return 0.0
    return 2 * sum(array.bytes for array in instruction.arrays) / (BANDWIDTH * chip.hbm_bytes_per_s)


def _is_by_place(module: Module, instruction: Instruction) -> bool:
    """Whether it moves elements by indices or by their order."""
    if instruction.opcode == "fusion":
        inside = module.computations[instruction.called[0]].instructions
        return any(one.opcode in BY_PLACE for one in inside)
    return instruction.opcode in BY_PLACE
