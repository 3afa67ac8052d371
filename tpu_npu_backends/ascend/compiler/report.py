"""What compilation came to: kernels, what they cover, what is left to the host and why."""

import collections
import re
import statistics
from typing import Any

from tpu_npu_backends.ascend.compiler.assembling import Assembled
from tpu_npu_backends.ascend.compiler.graph import Node
from tpu_npu_backends.ascend.compiler.kernels import Compiler, Kernel
from tpu_npu_backends.ascend.compiler.plan import Branch, ExecutionPlan, Host, Launch, Loop, SliceAt, UpdateAt
from tpu_npu_backends.ascend.compiler.workspace import bytes_of
from tpu_npu_backends.ascend.simulator import memory

_CORES = re.compile(r"func_core_type<(\w+)>")


def make(
    assembled: dict[str, Assembled],
    plan: ExecutionPlan,
    kernels: dict[str, Kernel],
    compiler: Compiler,
    seconds: dict[str, float],
) -> dict[str, Any]:
    """The report, for JSON.

    FLOPs are those of the program: products (2 per multiplication), elementwise ops (1 per element) and sums.
    What rewrites add (a lookup that became a product) is counted apart and covers nothing.
    """
    times = _times(assembled)
    total, covered, added = 0, 0, 0
    products, compiled_products = 0, 0
    left: dict[tuple, dict[str, Any]] = {}
    for name, each in assembled.items():
        for part in each.parts:
            for node in part.nodes:
                if node in each.addresses:
                    continue
                flops = node.flops * times.get(name, 1)
                total += flops
                covered += 0 if part.on_host else flops
                if node.kind == "matmul":
                    products += 1
                    compiled_products += not part.on_host
                    added += node.facts["flops"] * times.get(name, 1) if node.facts["added"] else 0
                if part.on_host:
                    why = part.kernel.refusal if part.kernel else "the compiler has no kernel of it"
                    _leave(left, node, why)
    steps = list(plan.walk())
    launches = collections.Counter()
    moved = 0
    for step, runs, owner in steps:
        if isinstance(step, Launch):
            launches[step.kernel] += runs
            moved += runs * sum(bytes_of(owner.buffers[number]) for number in step.inputs + step.outputs)
    cores = {key: _core(kernel) for key, kernel in kernels.items()}
    runs = compiler.seconds
    return {
        "target": compiler.target,
        "compiler": f"ascendnpu-ir {compiler.version}",
        "ran_on": "never run on hardware",
        "kernels": len(kernels),
        "kernels_by_core": dict(collections.Counter(cores.values())),
        "kernels_unchecked": sum(kernel.difference is None for kernel in kernels.values()),
        "on_chip": _on_chip(kernels),
        "launches": sum(launches.values()),
        "launches_by_core": dict(_summed(launches, cores)),
        "flops": total,
        "flops_covered": covered / total if total else 1.0,
        "flops_added_by_lookups": added,
        "products": products,
        "products_compiled": compiled_products,
        "host_ops": sorted(left.values(), key=lambda each: (each["op"], each["source"] or "")),
        "copies": sum(isinstance(step, SliceAt | UpdateAt) for step, _, _ in steps),
        "address_ops": sum(isinstance(step, Host) and step.address for step, _, _ in steps),
        "loops": sum(isinstance(step, Loop) for step, _, _ in steps),
        "loops_whose_end_the_host_reads": sum(
            isinstance(step, Loop) and step.trips is None for step, _, _ in steps
        ),
        "branches": sum(isinstance(step, Branch) for step, _, _ in steps),
        "bytes_moved": moved,
        "workspace_bytes": plan.workspace_bytes,
        "compiler_runs": compiler.runs,
        "kernel_seconds": {
            "median": round(statistics.median(runs), 3) if runs else 0.0,
            "largest": round(max(runs), 3) if runs else 0.0,
        },
        "seconds": {name: round(value, 3) for name, value in seconds.items()},
    }


def _on_chip(kernels: dict[str, Kernel]) -> dict[str, dict[str, int]]:
    """The largest use of each memory, of what there is."""
    return {
        space: {
            "largest_bytes": max(kernel.on_chip.get(space, 0) for kernel in kernels.values()),
            "of_bytes": size,
        }
        for space, size in memory.SIZES.items()
        if any(space in kernel.on_chip for kernel in kernels.values())
    }


def _leave(left: dict[tuple, dict[str, Any]], node: Node, why: str) -> None:
    source = node.source()
    one = left.setdefault(
        (node.kind, why, source),
        {"op": node.facts.get("op", node.kind), "count": 0, "why": why, "source": source},
    )
    one["count"] += 1


def _times(assembled: dict[str, Assembled]) -> dict[str, int]:
    """How often each function runs, by the trips of loops that count."""
    times = {"main": 1}

    def visit(name: str) -> None:
        for node in assembled[name].function.nodes:
            if node.kind == "loop":
                trips = node.facts.get("trips", 1)
                for part in (node.facts["body"], node.facts["condition"]):
                    times[part] = times[name] * trips
                    visit(part)
            elif node.kind == "branch":
                for part in node.facts["branches"].split(","):
                    times[part] = times[name]
                    visit(part)

    visit("main")
    return times


def _core(kernel: Kernel) -> str:
    """The cores that a kernel runs on: "cube", "vector" or "both"."""
    found = set(_CORES.findall(kernel.instructions))
    cube, vector = bool(found & {"AIC", "MIX"}), bool(found & {"AIV", "MIX"})
    return "both" if cube and vector else "cube" if cube else "vector"


def _summed(launches: collections.Counter, cores: dict[str, str]) -> collections.Counter:
    total = collections.Counter()
    for key, count in launches.items():
        total[cores[key]] += count
    return total
