"""The cost of a compiled step, counted from its optimised HLO: compute, collectives, what of them is exposed.

Grounded in the TPU compiler's own `estimated_cycles` and printed schedule; for GPUs in what their compiler
says an instruction takes, corrected where it is known to be wrong (`gpu_work`). Nothing runs. docs/scaling.md
has the definition, what it rests on and what it cannot show.
"""

import dataclasses
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from pangu_jax.planner import gpu_work, hlo, kernel_work, products, tpu_work, trips
from pangu_jax.planner.collectives import KINDS, Collectives
from pangu_jax.planner.cost_report import CollectiveCost, Contribution, CostReport
from pangu_jax.planner.hlo import Computation, Instruction, Module
from pangu_jax.planner.links import Links
from tpu_npu_backends.topologies import Topology

TOP = 20

_KERNEL = re.compile(r'custom_call_target="(tpu_custom_call"|__gpu\$xla\.gpu\.triton"|__cudnn\$fmha)')

Entry = TypeVar("Entry", CollectiveCost, Contribution)


def report(
    hlo_text: str,
    topology: Topology,
    mesh_shape: Mapping[str, int],
    device_ids: Sequence[int] | None = None,
) -> CostReport:
    """What one run of a compiled program costs on a topology; HloError for a text that is no program.

    Args:
      hlo_text: `compiled.as_text()`.
      topology: what it was compiled for.
      mesh_shape: mesh axis -> size, in mesh order.
      device_ids: `[d.id for d in mesh.devices.flat]`; None for devices sorted by their coordinates.
    """
    module = hlo.parse(hlo_text)
    counter = _Counter(module, topology, Links(topology, device_ids), mesh_shape)
    total = counter.computation(module.computations[module.entry])
    contributions = sorted(total.contributions.values(), key=lambda c: -c.seconds)
    return CostReport(
        topology=topology.name,
        devices=topology.device_count,
        peak_flops=topology.chip.peak_flops,
        compute_seconds=total.compute,
        kernel_seconds=total.kernels,
        exposed_seconds=total.exposed,
        matmul_flops=total.matmul_flops,
        kernel_flops=total.kernel_flops,
        collectives=tuple(sorted(total.collectives.values(), key=lambda c: -c.seconds)),
        top=tuple(contributions[:TOP]),
        notes=tuple(counter.notes),
    )


@dataclass
class _Cost:
    """Sums over one run of a computation. Times in seconds, FLOPs of one device."""

    compute: float = 0.0
    kernels: float = 0.0
    exposed: float = 0.0
    matmul_flops: int = 0
    kernel_flops: int = 0
    collectives: dict[tuple, CollectiveCost] = field(default_factory=dict)
    contributions: dict[str, Contribution] = field(default_factory=dict)

    @property
    def seconds(self) -> float:
        return self.compute + self.exposed

    def add(self, other: "_Cost", times: int = 1) -> None:
        for name in ("compute", "kernels", "exposed", "matmul_flops", "kernel_flops"):
            setattr(self, name, getattr(self, name) + times * getattr(other, name))
        for key, collective in other.collectives.items():
            self.collectives[key] = _sum(self.collectives.get(key), collective, times)
        for name, entry in other.contributions.items():
            self.contributions[name] = _sum(self.contributions.get(name), entry, times)

    def add_collective(self, collective, exposed: float) -> None:
        key = (collective.kind, collective.axes)
        entry = CollectiveCost(*key, 1, collective.bytes, collective.seconds, exposed)
        self.collectives[key] = _sum(self.collectives.get(key), entry, 1)

    def contribute(self, instruction: Instruction, what: str, seconds: float) -> None:
        if seconds:
            entry = Contribution(instruction.name, what, instruction.op_name, 1, seconds)
            self.contributions[instruction.name] = _sum(self.contributions.get(entry.name), entry, 1)


def _sum(mine: Entry | None, theirs: Entry, times: int) -> Entry:
    """Two entries of the same key: numbers add up, names stay."""
    changes = {}
    for entry in dataclasses.fields(theirs):
        value = getattr(theirs, entry.name)
        if isinstance(value, int | float):
            changes[entry.name] = (getattr(mine, entry.name) if mine else 0) + times * value
    return dataclasses.replace(theirs, **changes)


class _Counter:
    """Walks computations in printed order with a clock: what a `done` still has to wait for is exposed.

    Collectives over the same mesh axis go one after the other: they are on the same links.
    """

    def __init__(self, module: Module, topology: Topology, links: Links, mesh_shape: Mapping[str, int]):
        self._module, self._chip = module, topology.chip
        self._collectives = Collectives(module, links, mesh_shape)
        self._known: dict[str, _Cost] = {}
        self._noted: dict[str, set[str]] = defaultdict(set)

    @property
    def notes(self) -> list[str]:
        """What was assumed, one line per kind."""
        return [f"{what}: {', '.join(sorted(names))}" for what, names in self._noted.items()]

    def computation(self, computation: Computation) -> _Cost:
        """The cost of one run."""
        if computation.name not in self._known:
            self._known[computation.name] = self._walk(computation)
        return self._known[computation.name]

    def _walk(self, computation: Computation) -> _Cost:
        total = _Cost()
        flying: dict[str, tuple[float, tuple]] = {}  # started instruction -> when it is done, what it is
        taken: dict[str, float] = {}  # mesh axis -> until when its links are
        for instruction in computation.instructions:
            waited_for = self._collectives.waits_for(instruction)
            if waited_for is not None:
                self._finish(total, flying, instruction, waited_for)
                continue
            total.add(self._core(computation, instruction))
            started = self._collectives.started_by(computation, instruction)
            if not started:
                continue
            seconds = sum(collective.seconds for collective in started)
            axes = {axis for collective in started for axis in collective.axes}
            begins = max([total.seconds, *(taken.get(axis, 0.0) for axis in axes)])
            if self._collectives.is_async_start(instruction):
                flying[instruction.name] = begins + seconds, started
                taken |= dict.fromkeys(axes, begins + seconds)
                continue
            waited = begins - total.seconds
            total.exposed += waited + seconds
            total.contribute(instruction, "collective", waited + seconds)
            for collective in started:
                total.add_collective(collective, collective.seconds)
        for name, (_, started) in flying.items():
            self._noted["never waited for, taken as hidden"].add(name)
            for collective in started:
                total.add_collective(collective, 0.0)
        return total

    def _finish(self, total: _Cost, flying: dict, done: Instruction, name: str) -> None:
        if name not in flying:
            return
        when, started = flying.pop(name)
        exposed = max(0.0, when - total.seconds)
        total.exposed += exposed
        total.contribute(done, "collective", exposed)
        whole = sum(collective.seconds for collective in started)
        for collective in started:
            total.add_collective(collective, exposed * collective.seconds / whole if whole else 0.0)

    def _core(self, computation: Computation, instruction: Instruction) -> _Cost:
        """What an instruction takes of the core, its loops and branches included."""
        cost = _Cost()
        opcode = instruction.opcode
        if opcode == "while":
            count = trips.trip_count(self._module, computation, instruction)
            if count is None:
                self._noted["loops of unknown length, counted once"].add(instruction.name)
            body = instruction.required("body").lstrip("%")
            cost.add(self.computation(self._module.computations[body]), 1 if count is None else count)
        elif opcode == "conditional":
            self._noted["conditionals, the dearest branch counted"].add(instruction.name)
            branches = [self.computation(self._module.computations[name]) for name in instruction.called]
            cost.add(max(branches, key=lambda branch: (branch.seconds, branch.matmul_flops)))
        elif opcode == "call":
            for name in instruction.called:
                cost.add(self.computation(self._module.computations[name]))
        elif opcode == "custom-call" and _KERNEL.search(instruction.attributes):
            self._kernel(cost, computation, instruction)
        elif self._chip.platform == "cuda":
            if opcode not in KINDS:
                self._on_gpu(cost, computation, instruction)
        else:
            if opcode == "fusion":
                inside = self._module.computations[instruction.called[0]]
                cost.matmul_flops = products.all_products(inside, self._module.computations)
            else:
                cost.matmul_flops = products.product_flops(computation, instruction)
            # A start's own cycles are what it starts, beside the core; a collective's are its links'.
            on_the_core = not opcode.endswith("-start") and opcode not in KINDS
            if on_the_core and self._chip.platform == "tpu":
                cost.compute = tpu_work.seconds(self._module, instruction, self._chip)
                cost.contribute(instruction, "compute", cost.compute)
        return cost

    def _on_gpu(self, cost: _Cost, computation: Computation, instruction: Instruction) -> None:
        seconds, cost.matmul_flops = gpu_work.work(self._module, computation, instruction, self._chip)
        if seconds is None:
            self._noted["kernels without a price"].add(instruction.name)
            return
        cost.compute = seconds
        cost.contribute(instruction, "compute", seconds)

    def _kernel(self, cost: _Cost, computation: Computation, call: Instruction) -> None:
        on_gpu = self._chip.platform == "cuda"
        found = (kernel_work.on_gpu if on_gpu else kernel_work.on_tpu)(computation, call, self._chip)
        if found is None:
            self._noted["kernels without a price"].add(call.name)
            return
        cost.kernel_flops = found.flops
        cost.kernels = cost.compute = found.seconds
        cost.contribute(call, "kernel", found.seconds)
