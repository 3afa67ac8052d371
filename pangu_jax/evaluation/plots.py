"""Plots as inline SVG: means by task and method, paired differences, accuracy by confidence, curves.

Drawn in placeholder colours that become CSS variables, so that one drawing serves light and dark; text stays
text, in the font of the page. The same numbers make the same bytes. No pyplot: no backend is chosen and no
figure is kept alive.
"""

from collections.abc import Mapping, Sequence

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pangu_jax.evaluation.calibration import Reliability
from pangu_jax.evaluation.statistics import BASELINES, Paired, Summary
from pangu_jax.inline_svg import STYLE, svg

# What distinguishes methods: a colour of the page and a shape, since colours alone do not for everybody.
MARKERS = {"o": "●", "s": "■", "^": "▲", "D": "◆", "v": "▼", "P": "✚", "X": "✖", "*": "★"}
_BASELINE_MARKERS = {"majority": "|", "random": "x"}
_BASELINE_SIGNS = {"majority": "┃", "random": "×"}
_TEXT, _GRID = "#000001", "#000002"
_COLOURS = [f"#00010{place}" for place in range(len(MARKERS))]
_VARIABLES = {_TEXT: "var(--muted)", _GRID: "var(--line)"}
_VARIABLES |= {colour: f"var(--method-{place})" for place, colour in enumerate(_COLOURS)}
_WIDE, _NARROW = 6.4, 4.4  # inches; the page shows the second at two thirds of the first
_SQUARE = 2.6  # inches of a side
_LEFT = 1.3  # inches for the names of tasks


def legend(methods: Sequence[str]) -> list[tuple[str, str, str]]:
    """Of each method: its name, the CSS colour and the sign it is drawn with."""
    return [(method, _VARIABLES[colour], sign) for method, (colour, _, sign) in _looks(methods).items()]


def means(summaries: Sequence[Summary]) -> str:
    """Means by task and method with their standard deviations, as an <svg> element."""
    tasks = list(dict.fromkeys(summary.task for summary in summaries))
    looks = _looks(list(dict.fromkeys(summary.method for summary in summaries)))
    places = {method: place for place, method in enumerate(looks)}
    with matplotlib.rc_context(STYLE | {"font.size": 8, "svg.hashsalt": "means"}):
        figure, axes = _axes(tasks, _WIDE, inches_a_task=0.16 + 0.09 * len(looks))
        for summary in summaries:
            colour, marker, _ = looks[summary.method]
            row = tasks.index(summary.task) + 0.8 * ((places[summary.method] + 0.5) / len(looks) - 0.5)
            axes.errorbar(
                summary.mean,
                row,
                xerr=summary.std,
                color=colour,
                marker=marker,
                markersize=4,
                linewidth=1.1,
                capsize=0,
            )
        for boundary in range(1, len(tasks)):
            axes.axhline(boundary - 0.5, color=_GRID, linewidth=0.6)
        axes.set_xlabel("percent", color=_TEXT)
        return svg(figure, _VARIABLES)


def differences(compared: Sequence[Paired]) -> str:
    """Mean difference by task with its 95% interval, and that of every unit as a small dot, as <svg>."""
    shown = [(paired, paired.mean) for paired in compared if paired.mean is not None]
    salt = {"font.size": 8, "svg.hashsalt": "{0.first}-{0.second}".format(shown[0][0])}
    with matplotlib.rc_context(STYLE | salt):
        figure, axes = _axes([paired.task for paired, _ in shown], _NARROW, inches_a_task=0.3)
        axes.axvline(0, color=_TEXT, linewidth=0.9)
        for row, (paired, mean) in enumerate(shown):
            values = list(paired.differences.values())
            axes.plot(values, [row + 0.26] * len(values), "o", color=_TEXT, markersize=2.5, alpha=0.8)
            axes.plot(mean, row, "D", color=_COLOURS[0], markersize=4.5)
            if paired.interval:
                axes.plot(paired.interval, [row, row], color=_COLOURS[0], linewidth=1.4)
        axes.set_xlabel("difference, percentage points", color=_TEXT)
        return svg(figure, _VARIABLES)


def reliability(found: Reliability) -> str:
    """Accuracy by confidence, the area of a point as its answers are many, as an <svg> element."""
    salt = {"font.size": 8, "svg.hashsalt": "reliability"}
    with matplotlib.rc_context(STYLE | salt):
        figure = Figure(figsize=(_SQUARE, _SQUARE))
        axes = figure.add_axes((0.2, 0.2, 0.75, 0.75))
        axes.spines[["top", "right"]].set_visible(False)
        axes.spines[["left", "bottom"]].set_color(_GRID)
        axes.tick_params(colors=_TEXT, length=0)
        axes.plot((0, 100), (0, 100), color=_GRID, linewidth=1)
        some = found.counts_B > 0
        points = 100 * found.confidence_B[some], 100 * found.accuracy_B[some]
        axes.plot(*points, color=_COLOURS[0], linewidth=1)
        axes.scatter(*points, 120 * found.counts_B[some] / found.counts_B.max(), color=_COLOURS[0])
        axes.set_xlabel("confidence, percent", color=_TEXT)
        axes.set_ylabel("right, percent", color=_TEXT)
        return svg(figure, _VARIABLES)


def curves(lines: Mapping[str, Sequence[tuple[float, float]]], across: str, up: str) -> str:
    """Points on a line for each method, as an <svg> element.

    Args:
      lines: by method, (x, y).
      across: what x is.
      up: what y is.
    """
    with matplotlib.rc_context(STYLE | {"font.size": 8, "svg.hashsalt": "curves"}):
        figure = Figure(figsize=(_WIDE, 0.5 * _WIDE))
        axes = figure.add_axes((0.08, 0.14, 0.9, 0.82))
        axes.spines[["top", "right"]].set_visible(False)
        axes.spines[["left", "bottom"]].set_color(_GRID)
        axes.grid(axis="y", color=_GRID, linewidth=0.6)
        axes.set_axisbelow(True)
        axes.tick_params(colors=_TEXT, length=0)
        for method, (colour, marker, _) in _looks(list(lines)).items():
            axes.plot(
                *zip(*lines[method], strict=True), color=colour, marker=marker, markersize=4, linewidth=1.1
            )
        axes.set_xlabel(across, color=_TEXT)
        axes.set_ylabel(up, color=_TEXT)
        return svg(figure, _VARIABLES)


def _looks(methods: Sequence[str]) -> dict[str, tuple[str, str, str]]:
    """Colour, marker and sign by method; baselines are grey."""
    shapes = list(MARKERS.items())
    looks, place = {}, 0
    for method in methods:
        if method in BASELINES:
            looks[method] = (_TEXT, _BASELINE_MARKERS[method], _BASELINE_SIGNS[method])
        else:
            # A ninth method has the first colour again, with another shape.
            marker, sign = shapes[(place + place // len(shapes)) % len(shapes)]
            looks[method] = (_COLOURS[place % len(_COLOURS)], marker, sign)
            place += 1
    return looks


def _axes(tasks: Sequence[str], width: float, inches_a_task: float) -> tuple[Figure, Axes]:
    height = 0.5 + inches_a_task * len(tasks)
    figure = Figure(figsize=(width, height))
    axes = figure.add_axes((_LEFT / width, 0.45 / height, 1 - (_LEFT + 0.15) / width, 1 - 0.5 / height))
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(_GRID)
    axes.grid(axis="x", color=_GRID, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(colors=_TEXT, length=0)
    axes.set_yticks(range(len(tasks)), tasks, parse_math=False)
    axes.set_ylim(len(tasks) - 0.5, -0.5)
    return figure, axes
