"""A step compiled for a target, as a person reads it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pangu_jax import text_tables
from pangu_jax.parallel.layout import Layout
from pangu_jax.planning import compiled_tables
from tpu_npu_backends.ascend import cann
from tpu_npu_backends.topologies import Topology

GIB = 2**30
_HOST_OPS = 20  # lines of what is left to the host
_MEMORIES = {"ub": "UB", "cbuf": "L1", "ca": "L0A", "cb": "L0B", "cc": "L0C"}  # HIVM's names
_WHY = 120  # characters


def topology(chosen: Topology, layout: Layout, value: dict[str, Any], out: Path | None) -> str:
    """Memory, kernels, times and collectives of a step that was compiled, of one device."""
    seconds = f"{value['compile_s']:.0f} s" + (" (kept from an earlier call)" if value["cached"] else "")
    rows = [
        [
            "compiled for",
            f"{chosen.describe()}, {layout.describe()}, batch {value['batch_size']}, in {seconds}",
        ],
        ["model FLOPs", f"{value['model_flops_per_step'] / 1e9:.4g} GFLOP per step, of all devices"],
        *compiled_tables.rows(value),
    ]
    lines = [text_tables.render(("", ""), rows), *compiled_tables.collectives(value)]
    return "\n".join([*lines, *compiled_tables.limits(value), *_written(out)])


def ascend(value: dict[str, Any], out: Path | None) -> str:
    """Kernels, what they cover, and what is left to the host."""
    host_ops = value["host_ops"]
    cores = ", ".join(f"{count} {core}" for core, count in value["kernels_by_core"].items())
    seconds = value["seconds"]["total"]
    rows = [
        [
            "compiled for",
            f"{value['target']}, batch {value['batch_size']}, in {seconds:.0f} s; {cann.NEVER_RUN}",
        ],
        ["kernels", f"{value['kernels']} ({cores}), {value['launches']} launches per step"],
        ["products", f"{value['products_compiled']} of {value['products']} in kernels"],
        ["FLOPs covered", f"{value['flops_covered']:.2%} of {value['flops'] / 1e9:.4g} GFLOP per step"],
        ["checked", _checked(value)],
        ["memory", f"{_gib(value['workspace_bytes'])} GiB beside arguments and results"],
        ["on the chip", _on_chip(value["on_chip"])],
        ["left to the host", _count(host_ops)],
        ["device binaries", _binaries(value, out)],
    ]
    lines = [text_tables.render(("", ""), rows)]
    if host_ops:
        each = [
            [op["op"], str(op["count"]), op["source"] or "", _short(op["why"])] for op in host_ops[:_HOST_OPS]
        ]
        lines += ["", text_tables.render(("on the host", "count", "from", "why"), each)]
        if len(host_ops) > _HOST_OPS:
            lines.append(f"and {len(host_ops) - _HOST_OPS} kinds more, in the report")
    return "\n".join(lines + _written(out))


def _checked(value: dict[str, Any]) -> str:
    checked = value["kernels"] - value["kernels_unchecked"]
    return f"{checked} of {value['kernels']} kernels, in the simulator beside NumPy"


def _on_chip(used: dict[str, dict[str, int]]) -> str:
    """The most that a kernel takes of each memory, by Huawei's names for them."""
    each = (
        f"{_MEMORIES.get(space, space)} {use['largest_bytes'] >> 10} of {use['of_bytes'] >> 10}"
        for space, use in used.items()
    )
    return f"{', '.join(each)} KiB at most" if used else "not known"


def _count(host_ops: Sequence[dict[str, Any]]) -> str:
    return f"{sum(op['count'] for op in host_ops)} ops, listed below" if host_ops else "nothing"


def _short(why: str) -> str:
    """The compiler's words up to what it guesses about the reason; the report has all of them."""
    return why.removeprefix("error: ").partition(" (possible")[0][:_WHY]


def _binaries(value: dict[str, Any], out: Path | None) -> str:
    if value["cann"] is None:
        return f"none: hivmc is a part of CANN, and {cann.VARIABLE} is not set"
    if out is None:
        return "none: give --out DIR for them"
    return f"{value['binaries']} by CANN {value['cann']['version']} ({cann.NEVER_RUN})"


def _written(out: Path | None) -> list[str]:
    return [] if out is None else ["", str(out)]


def _gib(size: float) -> str:
    return f"{size / GIB:.3g}"
