"""A compiled step as a person reads it: memory, kernels, times, collectives, and what it cannot say."""

from typing import Any

from pangu_jax import text_tables

GIB = 2**30


def rows(facts: dict[str, Any]) -> list[list[str]]:
    """Name and value of what `compiled_facts.facts` found, collectives apart."""
    memory = facts["memory_bytes_per_device"]
    parts = ", ".join(f"{name} {_gib(size)}" for name, size in memory.items() if name != "total")
    limit = f"of {_gib(facts['memory_limit_bytes_per_device'])} GiB" + (
        "" if facts["fits"] else ", DOES NOT FIT"
    )
    kernels = ", ".join(f"{count} {kind.replace('_', ' ')}" for kind, count in facts["kernels"].items())
    found = [
        ["memory per device", f"{_gib(memory['total'])} {limit}: {parts}"],
        ["kernels", f"{kernels or 'none'} (each loop's once)"],
    ]
    seconds, mfu = facts["seconds"], facts["mfu"]
    if seconds is None:
        return [*found, ["time", "not estimated: no CPU compiler reports cycles"]]
    flops = facts["matmul_flops_per_device"]
    found += [
        ["products", f"{flops / 1e9:.4g} GFLOP per device, what is computed again included"],
        [
            "time",
            f"{seconds['step'] * 1e3:.4g} ms per step, of it {seconds['exposed_communication'] * 1e3:.4g} "
            "waiting for collectives; estimated from the program, it never ran",
        ],
    ]
    if mfu is None:
        return found
    said = f"{mfu['compute_only']:.1%} compute-only, {mfu['exposed']:.1%} with exposed communication"
    return [*found, ["MFU", said]]


def collectives(facts: dict[str, Any]) -> list[str]:
    """Lines, after an empty one; none where there are no collectives."""
    if not facts["collectives"]:
        return []
    headings = ("collective", "mesh axes", "count", "MB sent", "takes ms", "exposed ms")
    each = [
        [
            one["kind"],
            "+".join(one["axes"]) or "-",
            str(one["count"]),
            f"{one['bytes'] / 1e6:.4g}",
            f"{one['seconds'] * 1e3:.4g}",
            f"{one['exposed_seconds'] * 1e3:.4g}",
        ]
        for one in facts["collectives"]
    ]
    return ["", text_tables.render(headings, each)]


def limits(facts: dict[str, Any]) -> list[str]:
    """Lines, after an empty one: what was assumed, and what such a program cannot say."""
    lines = [f"assumed: {one}" for one in facts["assumed"]]
    lines += [f"cannot say: {one}" for one in facts["cannot_say"]]
    return ["", *lines] if lines else []


def _gib(size: float) -> str:
    return f"{size / GIB:.3g}"
