"""Figures of forecasts for pages and reports: maps beside the truth, errors over lead, spectra."""

from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from data_pipelines.fields.grid import Grid
from pangu_jax.apps.science.channels import SPREADING, Channel, told, units_said
from pangu_jax.apps.science.comparing import Sample
from pangu_jax.apps.science.maps import map_on
from pangu_jax.apps.science.scoring import WeatherScores
from pangu_jax.inline_svg import STYLE

TRUTH = "truth"
# A colour and a shape each: colours alone do not tell lines apart for everybody. Okabe and Ito's colours.
LOOKS = (
    ("#0072b2", "o", "-"),
    ("#d55e00", "s", "--"),
    ("#6e6e6e", "^", ":"),
    ("#009e73", "D", "-."),
    ("#000000", "", "-"),
)
DEEPEST = 1e-8  # of the greatest energy, down to which a spectrum is shown
DOTS = 110  # an inch
ACROSS = 3  # panels beside each other


def maps(sample: Sample, channels: Sequence[Channel], grid: Grid, land: bool) -> np.ndarray:
    """Forecast, truth and their difference, a row for each field; uint8 [height, width, 3].

    Args:
      sample: of a forecast.
      channels: of all fields.
      grid: theirs.
      land: whether coastlines mean anything; where there are any, see `coastlines`.
    """
    rows = len(sample.places)
    width, height = 11.0, max(1.75 * rows, 2.0)
    with matplotlib.rc_context(STYLE | {"figure.facecolor": "white", "font.size": 8}):
        figure = Figure(figsize=(width, height + 0.25), dpi=DOTS, layout="constrained")
        axes = figure.subplots(rows, 3, squeeze=False, sharex=True, sharey=True)
        for row, place in enumerate(sample.places):
            forecast, truth = sample.forecast[row], sample.truth[row]
            channel = channels[place]
            name, unit = channel.said(grid.level_units), units_said(channel.variable)
            low, high = float(np.nanmin(truth)), float(np.nanmax(truth))
            colours = "viridis"
            if channel.variable in SPREADING:
                low, high, colours = -max(-low, high), max(-low, high), "PuOr_r"
            for column, (field, what) in enumerate(((forecast, "forecast"), (truth, "truth"))):
                axes[row, column].set_title(f"{name}, {what}")
                map_on(axes[row, column], field, grid, low, high, colours, land)
            figure.colorbar(axes[row, 1].collections[0], ax=axes[row, :2].tolist(), pad=0.01, label=unit)
            difference = forecast - truth
            reach = float(np.nanmax(np.abs(difference))) or 1.0
            map_on(axes[row, 2], difference, grid, -reach, reach, "RdBu_r", land)
            axes[row, 2].set_title("forecast less truth")
            figure.colorbar(axes[row, 2].collections[0], ax=axes[row, 2], pad=0.02, label=unit)
        return _pixels(figure)


def errors(scores: WeatherScores, grid: Grid, region: int = 0) -> np.ndarray:
    """RMSE over lead of the fields that are looked at first, a panel each; uint8 [height, width, 3]."""

    def draw(axes: Axes, place: int) -> None:
        for (colour, marker, dash), method in zip(LOOKS, scores.methods, strict=False):
            line = scores.series("rmse", method, place, region)
            axes.plot(*zip(*line, strict=True), dash, color=colour, marker=marker, markersize=4, label=method)
        axes.set_ylim(bottom=0)
        axes.set_xlabel("lead, hours")
        axes.set_ylabel(f"RMSE, {units_said(scores.channels[place].variable)}")

    return _panels(scores, grid, draw)


def spectra(scores: WeatherScores, grid: Grid, lead: int) -> np.ndarray:
    """Energy by zonal wavenumber at a lead, beside the truth's; uint8 [height, width, 3]."""
    found: Any = scores.spectra
    at = scores.leads.index(lead)
    lines = [*scores.methods, TRUTH]
    looks = dict(zip([*scores.methods], LOOKS, strict=False)) | {TRUTH: LOOKS[-1]}

    def draw(axes: Axes, place: int) -> None:
        for row, name in enumerate(lines):
            colour, _, dash = looks[name]
            energy = found[row, at, place, 1:]
            if name != "persistence":  # a truth of another time: its spectrum is the truth's
                axes.loglog(np.arange(1, len(energy) + 1), energy, dash, color=colour, label=name)
        ticks = [wave for wave in (1, 2, 5, 10, 20, 50, 100, 200, 500) if wave < found.shape[-1]]
        axes.set_xticks(ticks, [str(wave) for wave in ticks])
        axes.minorticks_off()
        largest = float(np.nanmax(found[:, at, place, 1:]))
        axes.set_ylim(max(axes.get_ylim()[0], DEEPEST * largest), 4 * largest)
        axes.set_xlabel("zonal wavenumber")
        axes.set_ylabel(f"energy, m · ({units_said(scores.channels[place].variable)})²")

    return _panels(scores, grid, draw)


def table_rows(scores: WeatherScores, grid: Grid, leads: Sequence[int]) -> list[list[Any]]:
    """RMSE over the globe of the fields that are looked at first: name, units, lead, then each method's."""
    made = []
    for place in told(scores.channels, grid):
        channel = scores.channels[place]
        for lead in leads:
            errors = scores.values["rmse"][:, scores.leads.index(lead), 0, place]
            made.append(
                [channel.said(grid.level_units), units_said(channel.variable), lead, *map(float, errors)]
            )
    return made


def _panels(scores: WeatherScores, grid: Grid, draw: Any) -> np.ndarray:
    places = told(scores.channels, grid)
    columns = 2 if len(places) in (2, 4) else min(ACROSS, len(places))
    rows = -(-len(places) // columns)
    with matplotlib.rc_context(STYLE | {"figure.facecolor": "white", "font.size": 8}):
        figure = Figure(figsize=(max(3.4 * columns, 5), 2.5 * rows + 0.4), dpi=DOTS, layout="constrained")
        axes = figure.subplots(rows, columns, squeeze=False)
        for panel, place in zip(axes.flat, places, strict=False):
            draw(panel, place)
            panel.set_title(scores.channels[place].said(grid.level_units))
            panel.spines[["top", "right"]].set_visible(False)
            panel.grid(axis="y", color="#dddddd", linewidth=0.6)
        for panel in axes.flat[len(places) :]:
            panel.set_visible(False)
        handles, labels = axes.flat[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper left", ncols=len(labels), frameon=False)
        return _pixels(figure)


def _pixels(figure: Figure) -> np.ndarray:
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.ascontiguousarray(np.asarray(canvas.buffer_rgba())[..., :3])
