"""What `pangu extract` shows: a table, and a picture of accuracy over cost."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from pangu_jax.apps.vision.extraction.budgets import amount
from pangu_jax.inline_svg import STYLE
from pangu_jax.text_tables import render
from pangu_jax.workloads.vision.model.slicing import SubModel

BLUE, GREY, RED = "#1f5fbf", "#888888", "#b3261e"


def text(extracted: Sequence[dict[str, Any]]) -> str:
    """A line for each budget.

    Args:
      extracted: rows of `extracted_row`.
    """
    lines = []
    for row in extracted:
        cost, measured = row["cost"], row.get("measured_seconds")
        lines.append(
            (
                row["budget"],
                SubModel(row["width"], row["depths"]).label,
                amount(cost, row[cost]),
                "" if measured is None else amount("latency", measured),
                f"{row['slice_accuracy']:.1f}%",
                f"{row['accuracy']:.1f}%",
                row["run_dir"],
            )
        )
    return render(("budget", "sub-model", "cost", "measured", "slice", "tuned", "run"), lines)


def picture(path: Path, rows: Sequence[dict[str, Any]], extracted: Sequence[dict[str, Any]]) -> None:
    """An SVG: a panel for each kind of cost; sub-models that were measured, and those that were extracted.

    Args:
      path: the file.
      rows: of `Chosen.rows`.
      extracted: rows of `extracted_row`.
    """
    costs = list(dict.fromkeys(row["cost"] for row in extracted))
    with matplotlib.rc_context(STYLE | {"font.size": 8, "svg.hashsalt": "extraction"}):
        figure = Figure(figsize=(3.6 * len(costs), 2.9), facecolor="white", layout="constrained")
        for place, cost in enumerate(costs, start=1):
            axes = figure.add_subplot(1, len(costs), place)
            axes.spines[["top", "right"]].set_visible(False)
            for learnt, colour, name in ((True, BLUE, "learnt as such"), (False, GREY, "not learnt as such")):
                own = [r for r in rows if r["learnt"] == learnt and r["accuracy"] is not None]
                if own:
                    axes.scatter([_scaled(r, cost) for r in own], [r["accuracy"] for r in own],
                                 s=14, color=colour, label=name)  # fmt: skip
            own = [r for r in extracted if r["cost"] == cost]
            axes.scatter([_scaled(r, cost) for r in own], [r["accuracy"] for r in own],
                         s=34, marker="D", color=RED, label="extracted and tuned")  # fmt: skip
            axes.set_xlabel(_axis(cost))
            axes.set_ylabel("held-out pictures right, percent")
            axes.legend(frameon=False, fontsize=7)
        with path.open("w", encoding="utf-8") as file:
            FigureCanvasSVG(figure).print_svg(file, metadata={"Date": None})


def _scaled(row: dict[str, Any], cost: str) -> float:
    return row[cost] * 1e3 if cost.startswith("latency") else row[cost] / 1e6


def _axis(cost: str) -> str:
    if cost.startswith("latency"):
        chip = cost.partition("@")[2]
        return f"milliseconds, {chip}" + ("" if chip == "cpu" else ", predicted")
    return {"params": "parameters, millions", "flops": "FLOPs of a picture, millions"}[cost]
