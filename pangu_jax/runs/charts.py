"""Charts for the report: matplotlib figures as inline SVG that takes its colours and font from the page.

A figure is drawn in placeholder colours, which become CSS variables, so one drawing serves light and dark.
No pyplot: no backend is chosen and no figure is kept alive.
"""

from collections.abc import Callable, Mapping, Sequence

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from pangu_jax.inline_svg import STYLE, svg
from pangu_jax.runs.formats import count, plain
from pangu_jax.runs.results import Series

POINTS = 400  # more cannot be distinguished at this width
SIZE_INCHES = (4.0, 2.3)  # small, so that text is legible where a phone shows a chart at full width
AXES = (0.1, 0.165, 0.87, 0.815)  # left, bottom, width, height; fixed, so that charts line up

_TRAIN, _HELD_OUT, _LEVEL, _TEXT, _GRID = "#000001", "#000002", "#000003", "#000004", "#000005"
_VARIABLES = {
    _TRAIN: "var(--train)",
    _HELD_OUT: "var(--held-out)",
    _LEVEL: "var(--level)",
    _TEXT: "var(--muted)",
    _GRID: "var(--line)",
}
Format = Callable[[float], str]


def chart(
    train: Series,
    held_out: Series | None = None,
    levels: Mapping[str, float] | None = None,
    marks: Sequence[int] = (),
    form: Format = plain,
    log: bool = False,
    from_zero: bool = False,
    smooth: bool = True,
) -> str:
    """One metric over steps, as an <svg> element.

    Args:
      train: drawn faint as it is and strong as a moving mean.
      held_out: drawn as points on a line.
      levels: horizontal lines by name, such as baselines.
      marks: steps with a dotted vertical line (the run was resumed).
      form: writes the numbers of the vertical axis.
      log: logarithmic vertical axis.
      from_zero: the vertical axis begins at 0.
      smooth: whether to draw the moving mean.
    """
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=SIZE_INCHES)
        axes = figure.add_axes(AXES)
        _dress(axes, form, log)
        for step in marks:
            axes.axvline(step, color=_TEXT, linewidth=0.8, linestyle=":")
        _draw_train(axes, train, smooth)
        if held_out is not None and len(held_out.steps_N):
            axes.plot(*_thinned(held_out), color=_HELD_OUT, linewidth=1.0, marker="o", markersize=3)
        _draw_levels(axes, levels or {})
        if from_zero:
            axes.set_ylim(0, 1.08 * max(train.values_N.max(), 1e-9))
        return svg(figure, _VARIABLES)


def _dress(axes: Axes, form: Format, log: bool) -> None:
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(_GRID)
    axes.grid(axis="y", color=_GRID, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(which="both", colors=_TEXT, length=0)
    axes.margins(x=0.02, y=0.08)
    axes.set_xlabel("step", color=_TEXT)
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: count(value)))
    if log:
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5), numticks=8))
        axes.yaxis.set_minor_formatter(NullFormatter())
    else:
        axes.yaxis.set_major_locator(MaxNLocator(5))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: form(value)))


def _draw_train(axes: Axes, train: Series, smooth: bool) -> None:
    if len(train.steps_N) < 8 or not smooth:
        marker = "o" if len(train.steps_N) < 8 else None
        axes.plot(*_thinned(train), color=_TRAIN, linewidth=1.4, marker=marker, markersize=2.5)
        return
    axes.plot(*_thinned(train), color=_TRAIN, linewidth=0.8, alpha=0.3)
    axes.plot(*_thinned(Series(train.steps_N, moving_mean(train.values_N))), color=_TRAIN, linewidth=1.5)


def _draw_levels(axes: Axes, levels: Mapping[str, float]) -> None:
    for value in levels.values():
        axes.axhline(value, color=_LEVEL, linewidth=0.9, linestyle="--")
    bottom, top = axes.get_ylim()
    for name, value in levels.items():
        # Above its line, away from a curve that has passed it, unless there is no room below another line.
        above = not any(0 < other - value < 0.075 * (top - bottom) for other in levels.values())
        axes.annotate(
            f"{name} {value:.2f}",
            (1, value),
            xycoords=("axes fraction", "data"),
            xytext=(0, 2 if above else -2),
            textcoords="offset points",
            ha="right",
            va="bottom" if above else "top",
            color=_LEVEL,
            parse_math=False,
        )


def moving_mean(values_N: np.ndarray, share: float = 0.05) -> np.ndarray:
    """Mean over a centred window of `share` of the points (at least 3), cut off at both ends."""
    half = max(1, round(len(values_N) * share / 2))
    sums_N = np.concatenate([[0.0], np.cumsum(values_N)])
    index_N = np.arange(len(values_N))
    first_N, end_N = np.maximum(index_N - half, 0), np.minimum(index_N + half + 1, len(values_N))
    return (sums_N[end_N] - sums_N[first_N]) / (end_N - first_N)


def _thinned(series: Series) -> Series:
    """At most POINTS points: the mean of each run of neighbours, at its last step."""
    size = -(-len(series.steps_N) // POINTS)
    if size <= 1:
        return series
    ends_N = np.append(np.arange(size, len(series.steps_N), size), len(series.steps_N))
    starts_N = np.concatenate([[0], ends_N[:-1]])
    means_N = np.add.reduceat(series.values_N, starts_N) / (ends_N - starts_N)
    return Series(series.steps_N[ends_N - 1], means_N)
