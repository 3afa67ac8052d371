"""What `pangu eval` says of forecasts: JSON, a table, and scores by WeatherBench 2's names."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np

from pangu_jax import text_tables
from pangu_jax.apps.science.channels import long_name, told, units, units_said
from pangu_jax.apps.science.comparing import FORECAST
from pangu_jax.apps.science.measuring.evaluate_weather import MeasuredWeather
from pangu_jax.apps.science.scoring import METRICS, WeatherScores

LINES = 6  # leads of a table for a terminal, evenly


def as_json(found: MeasuredWeather) -> dict[str, Any]:
    """All of it: a row for each variable, level, lead, region and method; None is a score that there is
    not."""
    scores, level_units = found.compared.scores, found.grid.level_units
    return {
        "step": found.step,
        "step_hours": found.lead_hours,
        "windows": scores.windows,
        "climatology": found.compared.climate,
        "level_units": level_units,
        "notices": found.compared.notices,
        "rows": rows(scores),
        "spectra": _spectra(scores),
    }


def rows(scores: WeatherScores) -> list[dict[str, Any]]:
    """One for each variable, level, lead, region and method; winds have an RMSE alone."""
    made = []
    for m, method in enumerate(scores.methods):
        for t, lead in enumerate(scores.leads):
            for r, region in enumerate(scores.regions):
                about = {"lead_hours": lead, "region": region, "method": method}
                for c, channel in enumerate(scores.channels):
                    of = {"variable": channel.variable, "level": channel.level}
                    values = {name: _number(scores.values[name][m, t, r, c]) for name in METRICS}
                    made.append(of | about | {"units": units(channel.variable)} | values)
                for p, pair in enumerate(scores.winds):
                    of = {"variable": pair.name, "level": pair.level}
                    value = {"rmse": _number(scores.wind_rmse[m, t, r, p])}
                    made.append(of | about | {"units": units(pair.name)} | value)
    return made


def text(found: MeasuredWeather) -> str:
    """RMSE of the fields that are looked at first, over the globe, and the model's ACC."""
    scores = found.compared.scores
    leads = _some(scores.leads)
    lines = []
    for place in told(scores.channels, found.grid):
        channel = scores.channels[place]
        for lead in leads:
            at = scores.leads.index(lead)
            errors = [f"{scores.values['rmse'][m, at, 0, place]:.4g}" for m in range(len(scores.methods))]
            correlation = f"{scores.values['acc'][0, at, 0, place]:.3f}"
            lines.append(
                [
                    channel.said(found.grid.level_units),
                    units_said(channel.variable),
                    str(lead),
                    *errors,
                    correlation,
                ]
            )
    headings = ["RMSE", "units", "lead, h", *scores.methods, "ACC"]
    first = (
        f"{scores.windows} forecasts of held-out states by steps of {found.lead_hours} h, "
        f"{scores.regions[0]}; climatology: {found.compared.climate}"
    )
    return "\n\n".join([first, text_tables.render(headings, lines), *found.compared.notices])


def write_zarr(path: Path, found: MeasuredWeather) -> None:
    """Scores by WeatherBench 2's names: each variable [metric, lead_time, region, level], the model's at
    the root.

    Controls are groups beside it: xarray.open_zarr(path, group="persistence"). What was there is replaced.
    Zarr's format is 2, which has names as coordinates; that of format 3 is not settled.
    """
    import xarray as xr
    import zarr

    scores = found.compared.scores
    beside = path.with_name(path.name + ".new")
    shutil.rmtree(beside, ignore_errors=True)
    for m, method in enumerate(scores.methods):
        group = None if method == FORECAST else method.replace(" ", "_")
        dataset = _dataset(found, m)
        if scores.spectra is not None:
            dataset["zonal_energy_spectrum"] = xr.DataArray(
                scores.spectra[m],
                dims=("lead_time", "field", "zonal_wavenumber"),
                coords={"field": [channel.said(found.grid.level_units) for channel in scores.channels]},
                attrs={"units": "m times the square of the field's units"},
            )
        dataset.to_zarr(beside, group=group, mode="a", consolidated=False, zarr_format=2)
    zarr.consolidate_metadata(str(beside), zarr_format=2)
    shutil.rmtree(path, ignore_errors=True)
    beside.rename(path)


def _dataset(found: MeasuredWeather, method: int) -> Any:
    import xarray as xr

    scores = found.compared.scores
    coords = {
        "metric": list(METRICS),
        "lead_time": np.asarray(scores.leads, "timedelta64[h]").astype("timedelta64[ns]"),
        "region": list(scores.regions),
    }
    values = np.stack([scores.values[name][method] for name in METRICS])  # [metric, lead, region, channel]
    levels = list(found.grid.level_L)
    variables: dict[str, tuple[tuple[str, ...], np.ndarray]] = {}
    for name in dict.fromkeys(channel.variable for channel in scores.channels):
        places = [c for c, channel in enumerate(scores.channels) if channel.variable == name]
        if scores.channels[places[0]].level is None:
            variables[long_name(name)] = ("metric", "lead_time", "region"), values[..., places[0]]
        else:
            variables[long_name(name)] = ("metric", "lead_time", "region", "level"), values[..., places]
    for name in dict.fromkeys(pair.name for pair in scores.winds):
        rmse = np.full((len(METRICS), *scores.wind_rmse.shape[1:3], len(levels)), np.nan)
        pairs = [(p, pair) for p, pair in enumerate(scores.winds) if pair.name == name]
        for p, pair in pairs:
            rmse[0, ..., 0 if pair.level is None else levels.index(pair.level)] = scores.wind_rmse[
                method, ..., p
            ]
        on_surface = pairs[0][1].level is None
        dims = ("metric", "lead_time", "region") if on_surface else ("metric", "lead_time", "region", "level")
        variables[name] = dims, rmse[..., 0] if on_surface else rmse
    about = {"windows": scores.windows, "climatology": found.compared.climate}
    return xr.Dataset(
        variables, coords | {"level": ("level", levels, {"units": found.grid.level_units})}, about
    )


def _spectra(scores: WeatherScores) -> dict[str, Any] | None:
    """Of the last lead alone: all of them are in the Zarr."""
    if scores.spectra is None:
        return None
    return {
        "lead_hours": scores.leads[-1],
        "rows": [
            {"variable": channel.variable, "level": channel.level, "of": of, "energy": energy_CxK[c].tolist()}
            for c, channel in enumerate(scores.channels)
            for of, energy_CxK in zip((*scores.methods, "truth"), scores.spectra[:, -1], strict=True)
        ],
    }


def _some(leads: tuple[int, ...]) -> list[int]:
    places = np.unique(np.linspace(0, len(leads) - 1, min(LINES, len(leads))).round().astype(int))
    return [leads[place] for place in places]


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
