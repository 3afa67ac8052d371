"""A page of maps of a forecast, which needs no other file."""

from collections.abc import Sequence

from data_pipelines.templates import rendered
from pangu_jax.apps.science import coastlines, maps
from pangu_jax.apps.science.forecasting import ForecastMade
from pangu_jax.runs import exhibit_files
from pangu_jax.runs.inline_pictures import inline_picture


def render(made: ForecastMade, lines: Sequence[str]) -> str:
    """The page.

    Args:
      made: the forecast.
      lines: said of it below the title.
    """
    fields = []
    for field in made.fields:
        drawn = [(maps.field_maps, "the forecast" if field.spread_TxHxW is None else "mean of the members")]
        if field.spread_TxHxW is not None:
            drawn.append((maps.spread_maps, "deviation of the members"))
        pictures = [
            inline_picture(
                said, exhibit_files.png(draw(field, made.shown_leads, made.grid, not made.simulated))
            )
            for draw, said in drawn
        ]
        fields.append((field.channel.said(made.grid.level_units), pictures))
    without = coastlines.said()
    return rendered(
        "pangu_jax.apps.science",
        "forecast.html.jinja",
        title=f"Forecast from {made.begin} to {made.leads[-1]} h",
        lines=[*lines, *([f"Maps {without}."] if without and not made.simulated else [])],
        fields=fields,
    )
