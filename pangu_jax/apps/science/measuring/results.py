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

DIMENSIONS = ("metric", "lead_time", "region", "level")
# Of an ensemble, by their names there.
ENSEMBLE = {
    "crps": "crps",
    "spread": "ensemble_stddev",
    "skill": "ensemble_mean_rmse",
    "ratio": "spread_skill_ratio",
}
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
        "ensemble": _ensemble(scores),
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
    """Of a few fields over the first region: RMSE, the model's ACC, and an ensemble's scores."""
    scores = found.compared.scores
    parts = [
        f"{scores.windows} forecasts of held-out states by steps of {found.lead_hours} h, "
        f"{scores.regions[0]}; climatology: {found.compared.climate}"
    ]
    errors = list(scores.values["rmse"][:, :, 0])
    headings = ["RMSE", "units", "lead, h", *scores.methods, "ACC"]
    parts.append(_table(found, headings, [*errors, scores.values["acc"][0, :, 0]]))
    if scores.ensemble is not None:
        columns = {"CRPS": "crps", "spread": "spread", "RMSE of the mean": "skill", "ratio": "ratio"}
        of = [scores.ensemble[name][:, 0] for name in columns.values()]
        parts.append(_table(found, ["ensemble", "units", "lead, h", *columns], of))
    return "\n\n".join([*parts, *found.compared.notices])


def _table(found: MeasuredWeather, headings: list[str], columns_TxC: list[np.ndarray]) -> str:
    scores = found.compared.scores
    lines = []
    for place in told(scores.channels, found.grid):
        channel = scores.channels[place]
        about = channel.said(found.grid.level_units), units_said(channel.variable)
        for lead in _some(scores.leads):
            at = scores.leads.index(lead)
            lines.append([*about, str(lead), *(f"{column[at, place]:.4g}" for column in columns_TxC)])
    return text_tables.render(headings, lines)


def write_zarr(path: Path, found: MeasuredWeather) -> None:
    """Scores by WeatherBench 2's names: each variable [metric, lead_time, region, level].

    The model's are at the root, controls and an ensemble are groups beside it:
    xarray.open_zarr(path, group="persistence"). What was there is replaced. Zarr's format is 2, which has
    names as coordinates; that of format 3 is not settled.
    """
    import xarray as xr
    import zarr

    scores = found.compared.scores
    beside = path.with_name(path.name + ".new")
    shutil.rmtree(beside, ignore_errors=True)
    for m, method in enumerate(scores.methods):
        group = None if method == FORECAST else method.replace(" ", "_")
        dataset = _dataset(found, METRICS, np.stack([scores.values[name][m] for name in METRICS]))
        dataset = dataset.assign(_winds(found, m))
        if scores.spectra is not None:
            dataset["zonal_energy_spectrum"] = xr.DataArray(
                scores.spectra[m],
                dims=("lead_time", "field", "zonal_wavenumber"),
                coords={"field": [channel.said(found.grid.level_units) for channel in scores.channels]},
                attrs={"units": "m times the square of the field's units"},
            )
        dataset.to_zarr(beside, group=group, mode="a", consolidated=False, zarr_format=2)
    if scores.ensemble is not None:
        dataset = _dataset(
            found, tuple(ENSEMBLE.values()), np.stack([scores.ensemble[name] for name in ENSEMBLE])
        )
        dataset.to_zarr(beside, group="ensemble", mode="a", consolidated=False, zarr_format=2)
    zarr.consolidate_metadata(str(beside), zarr_format=2)
    shutil.rmtree(path, ignore_errors=True)
    beside.rename(path)


def _dataset(found: MeasuredWeather, metrics: tuple[str, ...], values: np.ndarray) -> Any:
    """Scores [metric, lead, region, channel] by variable."""
    import xarray as xr

    scores = found.compared.scores
    levels = list(found.grid.level_L)
    coords = {
        "metric": list(metrics),
        "lead_time": np.asarray(scores.leads, "timedelta64[h]").astype("timedelta64[ns]"),
        "region": list(scores.regions),
        "level": ("level", levels, {"units": found.grid.level_units}),
    }
    variables: dict[str, tuple[tuple[str, ...], np.ndarray]] = {}
    for name in dict.fromkeys(channel.variable for channel in scores.channels):
        places = [c for c, channel in enumerate(scores.channels) if channel.variable == name]
        on_surface = scores.channels[places[0]].level is None
        of = values[..., places[0]] if on_surface else values[..., places]
        variables[long_name(name)] = DIMENSIONS[:3] if on_surface else DIMENSIONS, of
    return xr.Dataset(variables, coords, {"windows": scores.windows, "climatology": found.compared.climate})


def _winds(found: MeasuredWeather, method: int) -> dict[str, tuple[tuple[str, ...], np.ndarray]]:
    """RMSE of winds; the other metrics are missing."""
    scores, levels = found.compared.scores, list(found.grid.level_L)
    made: dict[str, tuple[tuple[str, ...], np.ndarray]] = {}
    for name in dict.fromkeys(pair.name for pair in scores.winds):
        pairs = [(place, pair) for place, pair in enumerate(scores.winds) if pair.name == name]
        on_surface = pairs[0][1].level is None
        rmse = np.full((len(METRICS), *scores.wind_rmse.shape[1:3], len(levels)), np.nan)
        for place, pair in pairs:
            at = 0 if pair.level is None else levels.index(pair.level)
            rmse[0, ..., at] = scores.wind_rmse[method, ..., place]
        made[name] = (DIMENSIONS[:3], rmse[..., 0]) if on_surface else (DIMENSIONS, rmse)
    return made


def _ensemble(scores: WeatherScores) -> list[dict[str, Any]] | None:
    """A row for each variable, level, lead and region."""
    if scores.ensemble is None:
        return None
    return [
        {"variable": channel.variable, "level": channel.level, "lead_hours": lead, "region": region}
        | {name: _number(values[t, r, c]) for name, values in scores.ensemble.items()}
        for t, lead in enumerate(scores.leads)
        for r, region in enumerate(scores.regions)
        for c, channel in enumerate(scores.channels)
    ]


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
