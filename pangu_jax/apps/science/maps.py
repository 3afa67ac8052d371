"""Maps of a field at several leads, on equal scales; of an ensemble its mean, and its spread beside."""

from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.ticker import MultipleLocator

from data_pipelines.fields.grid import Grid
from pangu_jax.apps.science.channels import SPREADING, units_said
from pangu_jax.apps.science.coastlines import coastlines
from pangu_jax.apps.science.forecasting import ShownField
from pangu_jax.inline_svg import STYLE

DOTS = 110  # an inch
ACROSS = 2
WIDTH = 10.0  # inches
TALLEST, FLATTEST = 1.0, 0.3  # of a map's height to its width


def field_maps(field: ShownField, leads: Sequence[int], grid: Grid, land: bool = True) -> np.ndarray:
    """A map at each lead, of one member or of the mean; uint8 [height, width, 3].

    Args:
      field: what is drawn.
      leads: hours of its times.
      grid: on which it is.
      land: whether coastlines mean anything: a simulated atmosphere may have none.
    """
    values = field.mean_TxHxW
    low, high, colours = float(np.nanmin(values)), float(np.nanmax(values)), "viridis"
    if field.channel.variable in SPREADING:
        low, high, colours = -max(-low, high), max(-low, high), "PuOr_r"
    return _maps(field, values, leads, grid, (low, high, colours), land)


def spread_maps(field: ShownField, leads: Sequence[int], grid: Grid, land: bool = True) -> np.ndarray:
    """The deviation of the members at each lead, as `field_maps`."""
    spread: Any = field.spread_TxHxW
    return _maps(field, spread, leads, grid, (0.0, float(np.nanmax(spread)) or 1.0, "magma_r"), land)


def _maps(
    field: ShownField,
    values_TxHxW: np.ndarray,
    leads: Sequence[int],
    grid: Grid,
    scale: tuple[float, float, str],
    land: bool,
) -> np.ndarray:
    rows = -(-len(leads) // ACROSS)
    one = WIDTH / ACROSS * min(max(_height(grid), FLATTEST), TALLEST)
    with matplotlib.rc_context(STYLE | {"figure.facecolor": "white", "font.size": 9}):
        figure = Figure(figsize=(WIDTH, rows * (one + 0.25)), dpi=DOTS, layout="constrained")
        axes = figure.subplots(rows, ACROSS, squeeze=False, sharex=True, sharey=True)
        drawn: Any = None
        for panel, lead, values_HxW in zip(axes.flat, leads, values_TxHxW, strict=False):
            drawn = map_on(panel, values_HxW, grid, *scale, land)
            panel.set_title("initial state" if lead == 0 else f"{lead} h")
        for panel in axes.flat[len(leads) :]:
            panel.set_visible(False)
        figure.colorbar(drawn, ax=axes, pad=0.01, label=units_said(field.channel.variable))
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        return np.ascontiguousarray(np.asarray(canvas.buffer_rgba())[..., :3])


def map_on(
    axes: Axes, field_HxW: np.ndarray, grid: Grid, low: float, high: float, colours: str, land: bool = True
) -> Any:
    """Draw a field with coastlines, where there are any; what came of it has the colours."""
    drawn = axes.pcolormesh(
        grid.longitude_W, grid.latitude_H, field_HxW, vmin=low, vmax=high, cmap=colours, shading="nearest"
    )
    (west, east), (south, north) = axes.get_xlim(), axes.get_ylim()
    lines = [
        line + np.array([turn, 0], np.float32) for line in coastlines() * land for turn in (-360, 0, 360)
    ]
    inside = [line for line in lines if line[:, 0].max() >= west and line[:, 0].min() <= east]
    axes.add_collection(LineCollection(inside, colors="black", linewidths=0.6), autolim=False)
    axes.set_xlim(west, east)
    axes.set_ylim(south, north)
    axes.set_aspect("auto")
    for axis, width, choices in (
        (axes.xaxis, east - west, (60, 20, 10, 5)),
        (axes.yaxis, north - south, (30, 10, 5)),
    ):
        step = next((one for one in choices if width / one >= 3), choices[-1])
        axis.set_major_locator(MultipleLocator(step))
        axis.set_major_formatter("{x:g}°")
    return drawn


def _height(grid: Grid) -> float:
    """Of a map beside its width, as degrees at its middle latitude are on the globe."""
    north, south = grid.latitude_H[0], grid.latitude_H[-1]
    width = 360.0 if grid.periodic else grid.longitude_W[-1] - grid.longitude_W[0]
    return float((north - south) / (max(width, 1.0) * max(0.3, np.cos(np.deg2rad((north + south) / 2)))))
