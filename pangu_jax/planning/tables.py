"""A plan as a person reads it: the ranking, predicted beside compiled, and the lines to paste."""

from collections.abc import Sequence
from typing import Any

from pangu_jax import text_tables
from pangu_jax.parallel.layout import Layout
from pangu_jax.planner import planner
from pangu_jax.planner.predictions import Prediction
from pangu_jax.planning import compiled_tables
from pangu_jax.planning.plan import Plan
from pangu_jax.planning.verifying import Verified

GIB = 2**30


def render(plan: Plan) -> str:
    """All of it, as plain text."""
    search, topology = plan.search, plan.topology
    what = f"{planner.billions(plan.model.shape.parameters)} parameters, batch {plan.model.batch_size}"
    parts = [
        f"{what} on {topology.describe()}: {search.considered} layouts looked at, {search.divided} divide, "
        f"{search.feasible} fit into {search.limit_bytes / GIB:.1f} GiB",
        _ranking(plan),
    ]
    if plan.verified:
        parts.append(compared(plan.verified))
    best = plan.best
    for found in plan.verified:
        if found.facts and found.prediction is best:
            table = text_tables.render(("the best, compiled", ""), compiled_tables.rows(found.facts))
            lines = [*compiled_tables.collectives(found.facts), *compiled_tables.limits(found.facts)]
            parts.append("\n".join([table, *lines]))
    items = ", ".join(f"{name} {size / GIB:.3g}" for name, size in best.memory.items())
    parts.append(f"memory of the best, predicted, GiB per {topology.chip.unit}: {items}")
    parts.append(
        f"# paste into the recipe, or give each as --gin.NAME=VALUE\n{planner.bindings(best.layout)}"
    )
    return "\n".join(parts)


def _ranking(plan: Plan) -> str:
    headings = ("", "layout", "pipeline", "remat", "bubble", "GiB", "step s", "MFU", "collectives s")
    ranking = enumerate(plan.search.ranking, start=1)
    rows = [[str(number), *_row(prediction)] for number, prediction in ranking]
    return text_tables.render(headings, rows + ([["recipe", *_row(plan.own)]] if plan.own else []))


def _row(prediction: Prediction) -> list[str]:
    layout = prediction.layout
    collectives = " ".join(f"{axis} {seconds:.3g}" for axis, seconds in prediction.collectives.items())
    return [
        layout.describe() + (f", {layout.streams} streams" if layout.streams > 1 else ""),
        _pipeline(layout),
        layout.remat,
        f"{prediction.bubble:.1%}" if layout.stage > 1 else "",
        f"{prediction.bytes_per_device / GIB:.3g}",
        f"{prediction.step_s:.4g}",
        f"{prediction.mfu:.1%}",
        collectives,
    ]


def _pipeline(layout: Layout) -> str:
    """Such as `circular, 4 rounds, 16 microbatches, zero 1`."""
    words = []
    if layout.schedule != "none":
        words.append(layout.schedule)
        words += [f"{layout.repeats} rounds"] if layout.repeats > 1 else []
    words += [f"{layout.microbatches} microbatches"] if layout.microbatches > 1 else []
    words += ["zero 1"] if layout.zero == 1 else []
    return ", ".join(words)


def compared(verified: Sequence[Verified[Any]]) -> str:
    """Each prediction beside what was compiled."""
    headings = ("", "layout", "GiB predicted", "compiled", "step s predicted", "compiled", "compile s")
    rows = []
    for number, found in enumerate(verified, start=1):
        layout, prediction = found.prediction.layout.describe(), found.prediction
        if found.facts is None or found.bytes_per_device is None:
            rows.append([str(number), layout, found.error or ""])
            continue
        gib, step_s = found.bytes_per_device / GIB, "not estimated"
        if found.step_s:
            step_s = f"{found.step_s:.4g} ({_off(prediction.step_s, found.step_s)})"
        rows.append(
            [
                str(number),
                layout,
                f"{prediction.bytes_per_device / GIB:.3g}",
                f"{gib:.3g} ({_off(prediction.bytes_per_device / GIB, gib)})",
                f"{prediction.step_s:.4g}",
                step_s,
                f"{found.facts['compile_s']:.0f}" + (" (cached)" if found.facts["cached"] else ""),
            ]
        )
    return text_tables.render(headings, rows)


def _off(predicted: float, compiled: float) -> str:
    """How far the prediction is from what was compiled."""
    return f"{predicted / compiled - 1:+.0%}"
