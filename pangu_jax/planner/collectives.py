"""The collectives of a compiled program: which instruction starts one, which waits, what it moves."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from pangu_jax.planner.device_groups import axes_of, expand_groups, groups_text, pairs_of
from pangu_jax.planner.hlo import Computation, Instruction, Module
from pangu_jax.planner.links import Links

KINDS = (
    "all-gather",
    "all-reduce",
    "reduce-scatter",
    "all-to-all",
    "ragged-all-to-all",
    "collective-permute",
    "collective-broadcast",
)
_STARTS = ("async-start", "call-start")
_DONES = ("async-done", "call-done")


@dataclass(frozen=True)
class Collective:
    """What one run of one collective costs.

    Attributes:
      kind: one of KINDS.
      axes: mesh axes along which its devices differ.
      bytes: what a chip sends.
      seconds: on links of its own.
    """

    kind: str
    axes: tuple[str, ...]
    bytes: float
    seconds: float


class Collectives:
    """Finds collectives and prices them.

    Args:
      module: the program.
      links: the links of the devices.
      mesh_shape: mesh axis -> size, in mesh order.
    """

    def __init__(self, module: Module, links: Links, mesh_shape: Mapping[str, int]):
        self._module, self._links, self._mesh_shape = module, links, mesh_shape
        self._devices = math.prod(mesh_shape.values())
        self._groups: dict[str, tuple] = {}

    def started_by(self, computation: Computation, instruction: Instruction) -> tuple[Collective, ...]:
        """The collectives that an instruction starts or runs, fused and offloaded ones included."""
        kind = instruction.opcode.removesuffix("-start")
        if kind in KINDS:
            return (self._price(kind, computation, instruction),)
        if instruction.opcode in (*_STARTS, "fusion"):
            return self._inside(instruction)
        return ()

    def is_async_start(self, instruction: Instruction) -> bool:
        """Whether the core works while it runs: start/done pairs, SparseCore calls, started fusions."""
        opcode = instruction.opcode
        if opcode == "fusion":
            return instruction.name.startswith("async-collective-start")
        if '"is_sync":true' in instruction.attributes:  # a GPU's program prints a pair, and waits
            return False
        return opcode in _STARTS or (opcode.endswith("-start") and opcode.removesuffix("-start") in KINDS)

    def waits_for(self, instruction: Instruction) -> str | None:
        """Name of the started instruction that this one waits for; None for all others."""
        opcode = instruction.opcode
        if opcode == "fusion":
            waits = instruction.name.startswith("async-collective-done")
        else:
            waits = opcode in _DONES or (opcode.endswith("-done") and opcode.removesuffix("-done") in KINDS)
        return instruction.operands[0] if waits and instruction.operands else None

    def _inside(self, instruction: Instruction) -> tuple[Collective, ...]:
        found = []
        for name in instruction.called:
            computation = self._module.computations[name]
            for inner in computation.instructions:
                if inner.opcode in KINDS:
                    kind = inner.opcode
                    if kind == "all-reduce" and _keeps_one_part(computation, inner):
                        kind = "reduce-scatter"
                    found.append(self._price(kind, computation, inner))
                elif inner.opcode in (*_STARTS, "fusion"):
                    found += self._inside(inner)
        return tuple(found)

    def _price(self, kind: str, computation: Computation, instruction: Instruction) -> Collective:
        given = [computation.by_name[name] for name in instruction.operands if name in computation.by_name]
        given_bytes = sum(array.bytes for operand in given for array in operand.arrays)
        if kind == "collective-permute":
            pairs = pairs_of(instruction)
            traffic = self._links.permute(given_bytes, pairs)
            return Collective(kind, axes_of(pairs, self._mesh_shape), traffic.bytes, traffic.seconds)
        text = groups_text(instruction)
        if text not in self._groups:
            groups = expand_groups(text, self._devices)
            self._groups[text] = tuple(groups[0]), axes_of(groups, self._mesh_shape)
        group, axes = self._groups[text]
        payload = given_bytes * (len(group) if kind == "all-gather" else 1)
        wire = "all-to-all" if kind == "ragged-all-to-all" else kind
        traffic = self._links.collective(wire, payload, group)
        # Inside of a node XLA has tables of NCCL. Between nodes it reckons with a network of its own.
        said = instruction.compiler_seconds if self._links.inside_a_node(group) else None
        return Collective(kind, axes, traffic.bytes, traffic.seconds if said is None else said)


def _keeps_one_part(computation: Computation, reduction: Instruction) -> bool:
    """TPU writes some reduce-scatters as a fused all-reduce whose result is cut to the chip's own part."""
    users = [inner for inner in computation.instructions if reduction.name in inner.operands]
    return any(
        user.opcode == "dynamic-slice"
        or (user.opcode in ("get-tuple-element", "bitcast") and _keeps_one_part(computation, user))
        for user in users
    )
