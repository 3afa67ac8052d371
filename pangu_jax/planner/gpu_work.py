"""What an instruction of a program for GPUs takes: the compiler's own time, where that can be trusted.

XLA writes what it expects (`reification_cost`) into programs for the chips whose kernels it has tables of:
seconds by the shape of a product, by bytes and operations of a fusion. Four of its prices are wrong or
missing and are made here, by FLOPs at a part of the peak or by bytes, whichever takes longer: products that
give float32, which its tables lack (12 TFLOP/s on H100); batched products, priced as so many calls; Triton's
fusions (norms and softmax, 10^9 us); what it leaves out, copies among them. For chips without tables (compute
capability 8.0, 8.9) everything is priced so. Caches are not known of then: what one kernel writes and the
next reads, both pay for.
"""

import json
import math
import re
from collections import defaultdict
from typing import NamedTuple

from pangu_jax.planner.hlo import Computation, Instruction, Module
from pangu_jax.planner.products import all_products, product_flops
from tpu_npu_backends.chips import Chip

MATMUL = 0.75  # of peak: XLA's tables for H100 have 727 to 760 of 989 TFLOP/s for sides from 2,048 on
BANDWIDTH = 0.9  # of the data sheet's: an assumption

_CUBLAS = re.compile(r'custom_call_target="__cublas\$[^"]*"')
_DIMENSIONS = re.compile(r'"dot_dimension_numbers":(\{.*?\})')
_TRITON = re.compile(r'"kind":"__triton')
_NOTHING = (
    "parameter", "get-tuple-element", "tuple", "bitcast", "constant", "partition-id", "replica-id",
    "after-all", "opt-barrier",
)  # fmt: skip
_CUTS = ("slice", "dynamic-slice")


class Work(NamedTuple):
    """Seconds of an instruction, and the FLOPs of its products; seconds are None where no price is known."""

    seconds: float | None
    flops: int


def work(module: Module, computation: Computation, instruction: Instruction, chip: Chip) -> Work:
    """Of an instruction that is no loop, branch or collective."""
    opcode = instruction.opcode
    if opcode in _NOTHING or opcode.endswith(("-start", "-done")):
        return Work(0.0, 0)
    flops, trusted = 0, True
    if opcode == "custom-call":
        if not _CUBLAS.search(instruction.attributes):
            return Work(None, 0)
        dimensions = _dimensions(instruction)
        flops = _cublas_flops(computation, instruction, dimensions)
        batched = bool(dimensions.get("lhs_batch_dimensions"))
        trusted = not batched and instruction.arrays[0].dtype != "f32"
    elif opcode == "fusion":
        flops = all_products(module.computations[instruction.called[0]], module.computations)
        trusted = not _TRITON.search(instruction.attributes)
    else:
        flops = product_flops(computation, instruction)
    if trusted and instruction.compiler_seconds is not None:
        return Work(instruction.compiler_seconds, flops)
    by_bytes = _moved(module, computation, instruction) / (BANDWIDTH * chip.hbm_bytes_per_s)
    return Work(max(flops / (MATMUL * chip.peak_flops), by_bytes), flops)


def _dimensions(call: Instruction) -> dict[str, list[str]]:
    found = _DIMENSIONS.search(call.attributes)
    return json.loads(found[1]) if found else {}


def _cublas_flops(computation: Computation, call: Instruction, dimensions: dict[str, list[str]]) -> int:
    left = computation.by_name[call.operands[0]].arrays[0]
    contracted = dimensions.get("lhs_contracting_dimensions", [])
    return 2 * math.prod(call.arrays[0].dims) * math.prod(left.dims[int(place)] for place in contracted)


def _moved(module: Module, computation: Computation, instruction: Instruction) -> int:
    """Bytes read and written; of an array that is only cut or changed in place, what is cut or changed."""
    operands = [computation.by_name[name] for name in instruction.operands if name in computation.by_name]
    results = instruction.arrays[:1] if instruction.opcode == "custom-call" else instruction.arrays
    written = sum(array.bytes for array in results)  # beside a product's own there is its workspace
    if instruction.opcode != "fusion":
        return written + sum(array.bytes for operand in operands for array in operand.arrays)
    inside = module.computations[instruction.called[0]]
    users: dict[str, list[Instruction]] = defaultdict(list)
    for one in inside.instructions:
        for name in one.operands:
            users[name].append(one)
    moved = written
    for parameter in (one for one in inside.instructions if one.opcode == "parameter"):
        uses = _uses(users, parameter.name)
        if uses and all(use.opcode in _CUTS and use.operands[0] == name for use, name in uses):
            moved += sum(use.arrays[0].bytes for use, _ in uses)
        elif uses and all(
            use.opcode == "dynamic-update-slice" and use.operands[0] == name for use, name in uses
        ):
            whole = sum(use.arrays[0].bytes for use, _ in uses)
            moved -= whole - sum(inside.by_name[use.operands[1]].arrays[0].bytes for use, _ in uses)
        else:
            moved += sum(array.bytes for array in parameter.arrays)
    return moved


def _uses(users: dict[str, list[Instruction]], name: str) -> list[tuple[Instruction, str]]:
    """Instructions that take an array, seen through changes of its shape, each with the name it has there."""
    found = []
    for user in users[name]:
        through = user.opcode in ("bitcast", "reshape", "copy")
        found += _uses(users, user.name) if through else [(user, name)]
    return found
