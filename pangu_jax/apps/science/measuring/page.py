"""The scorecard: a page of forecasts beside what they must beat, which needs no other file."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from data_pipelines.templates import rendered
from pangu_jax.apps.science import coastlines, drawing
from pangu_jax.apps.science.channels import Channel, units_said
from pangu_jax.apps.science.measuring.evaluate_weather import MeasuredWeather
from pangu_jax.runs import exhibit_files
from pangu_jax.runs.inline_pictures import inline_picture
from pangu_jax.runs.run_directory import write_atomically

FILE = "eval_weather.html"  # in the run directory
COLUMNS = 8  # leads of a scorecard, evenly
FULL = 0.5  # of the best control's error, at which a cell has all of its colour


class ScoreCell(NamedTuple):
    """An error beside the smallest one of the controls.

    Attributes:
      rmse: as it is shown.
      share: its change from the best control's, in percent; "" without controls.
      colour: a colour with its strength, of CSS.
    """

    rmse: str
    share: str
    colour: str


def write(run_dir: str | Path, found: MeasuredWeather, recipe: str) -> Path:
    """The page, in the run directory.

    Raises:
      UserError: it cannot be written.
    """
    path = Path(run_dir) / FILE
    write_atomically(path, render(path.parent.resolve().name, found, recipe))
    return path


def render(title: str, found: MeasuredWeather, recipe: str) -> str:
    """The page's text."""
    scores, grid = found.compared.scores, found.grid
    leads = _evenly(scores.leads, COLUMNS)
    land = found.compared.land
    without = f", {coastlines.said()}" if land and coastlines.said() else ""
    samples = [one for one in found.compared.samples if one.lead in _evenly(scores.leads, 2)]
    pictures = [
        (f"{one.lead} h after {one.time}{without}", drawing.maps(one, scores.channels, grid, land))
        for one in samples
    ]
    curves = [("RMSE over lead, " + scores.regions[0], drawing.errors(scores, grid))]
    if scores.spectra is not None:
        curves += [
            (
                f"Zonal spectra between 30 and 60 degrees of both hemispheres, {lead} h ahead",
                drawing.spectra(scores, grid, lead),
            )
            for lead in _evenly(scores.leads, 2)
        ]
    return rendered(
        "pangu_jax.apps.science.measuring",
        "scorecard.html.jinja",
        title=title,
        found=found,
        scores=scores,
        climate=found.compared.climate,
        notices=found.compared.notices,
        leads=leads,
        controls=list(scores.methods[1:]),
        cards=[(region, _card(found, place, leads)) for place, region in enumerate(scores.regions)],
        correlations=_correlations(found, leads),
        ensemble=_of_members(found, leads),
        pictures=[inline_picture(said, exhibit_files.png(pixels)) for said, pixels in pictures],
        curves=[inline_picture(said, exhibit_files.png(pixels)) for said, pixels in curves],
        recipe=recipe,
    )


def _card(found: MeasuredWeather, region: int, leads: list[int]) -> list[tuple[str, str, list[ScoreCell]]]:
    """A row for each field and wind: its name, units, and a cell for each lead."""
    scores = found.compared.scores
    made = []
    for place, channel in enumerate(scores.channels):
        errors_MxT = scores.values["rmse"][:, :, region, place]
        made.append(
            (
                channel.said(found.grid.level_units),
                units_said(channel.variable),
                _cells(scores.leads, errors_MxT, leads),
            )
        )
    for place, pair in enumerate(scores.winds):
        name = Channel(pair.name.replace("_", " "), pair.level).said(found.grid.level_units)
        errors_MxT = scores.wind_rmse[:, :, region, place]
        made.append(
            (
                name,
                units_said(pair.name),
                _cells(scores.leads, errors_MxT, leads),
            )
        )
    return made


def _cells(of: tuple[int, ...], errors_MxT: np.ndarray, leads: list[int]) -> list[ScoreCell]:
    cells = []
    for lead in leads:
        own, *others = (float(error) for error in errors_MxT[:, of.index(lead)])
        best = min((other for other in others if np.isfinite(other)), default=0.0)
        change = own / best - 1 if best > 0 else np.nan
        strength = 0.55 * min(1.0, abs(change) / FULL) if np.isfinite(change) else 0.0
        colour = "38, 104, 214" if change < 0 else "214, 72, 30"
        share = f"{100 * change:+.0f} %" if np.isfinite(change) else ""
        cells.append(ScoreCell(_said(own, ".4g"), share, f"rgba({colour}, {strength:.2f})"))
    return cells


def _correlations(found: MeasuredWeather, leads: list[int]) -> list[tuple[str, list[str], list[str]]]:
    """ACC and bias of the model for each field, over the first region."""
    scores: Any = found.compared.scores
    places = [scores.leads.index(lead) for lead in leads]
    return [
        (
            channel.said(found.grid.level_units),
            [_said(scores.values["acc"][0, t, 0, c], ".3f") for t in places],
            [_said(scores.values["bias"][0, t, 0, c], "+.3g") for t in places],
        )
        for c, channel in enumerate(scores.channels)
    ]


def _of_members(
    found: MeasuredWeather, leads: list[int]
) -> list[tuple[str, str, list[tuple[str, str, str]]]]:
    """CRPS, spread and ratio of each field at each lead, over the first region; [] without an ensemble."""
    scores = found.compared.scores
    if scores.ensemble is None:
        return []
    crps, spread, ratio = (scores.ensemble[name][:, 0] for name in ("crps", "spread", "ratio"))
    places = [scores.leads.index(lead) for lead in leads]
    return [
        (
            channel.said(found.grid.level_units),
            units_said(channel.variable),
            [(f"{crps[t, c]:.3g}", f"{spread[t, c]:.3g}", f"{ratio[t, c]:.2f}") for t in places],
        )
        for c, channel in enumerate(scores.channels)
    ]


def _said(value: float, form: str) -> str:
    return format(value, form) if np.isfinite(value) else "–"


def _evenly(leads: tuple[int, ...], count: int) -> list[int]:
    places = np.unique(np.linspace(0, len(leads) - 1, min(count, len(leads))).round().astype(int))
    return [leads[place] for place in places]
