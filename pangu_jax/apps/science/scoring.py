"""Scores of several forecasts side by side, window by window: nothing but means is kept."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from data_pipelines.fields.grid import Grid
from data_pipelines.fields.variables import FieldNames
from pangu_jax.apps.science import areas, metrics
from pangu_jax.apps.science.areas import Area
from pangu_jax.apps.science.channels import Channel, WindPair, channels, winds

BAND = (30.0, 60.0)  # degrees of both hemispheres in which spectra are taken
METRICS = ("rmse", "bias", "acc")


@dataclass(frozen=True)
class WeatherScores:
    """Scores by method, lead, region and field.

    Attributes:
      channels: the fields.
      winds: pairs of them that are winds.
      methods: such as "forecast", "persistence", "climatology".
      leads: hours, ascending.
      regions: names.
      windows: forecasts that were averaged over.
      values: "rmse", "bias" and "acc", float64 [M, T, R, C]; NaN where there is none (a climate has no ACC).
      wind_rmse: float64 [M, T, R, P].
      spectra: energy by zonal wavenumber, mean over both middle latitudes, float64 [M + 1, T, C, K], the
        truth's last; None for a part of the globe.
    """

    channels: list[Channel]
    winds: list[WindPair]
    methods: tuple[str, ...]
    leads: tuple[int, ...]
    regions: tuple[str, ...]
    windows: int
    values: dict[str, np.ndarray]
    wind_rmse: np.ndarray
    spectra: np.ndarray | None
    ensemble: dict[str, np.ndarray] | None = None

    def series(self, metric: str, method: str, channel: int, region: int = 0) -> list[tuple[float, float]]:
        """(lead, value) of a field in a region."""
        line = self.values[metric][self.methods.index(method), :, region, channel]
        return [(lead, float(value)) for lead, value in zip(self.leads, line, strict=True)]


class Scorer:
    """Adds up scores of forecasts [B, C, H, W] against truths.

    Args:
      grid: of the fields.
      names: of their variables.
      methods: names of the forecasts that are compared.
      leads: hours.
      regions: names of `areas.REGIONS`.
      with_spectra: whether spectra are taken, of fields that go around the globe.
    """

    def __init__(
        self,
        grid: Grid,
        names: FieldNames,
        methods: Sequence[str],
        leads: Sequence[int],
        regions: Sequence[str],
        with_spectra: bool = True,
    ):
        self.channels, self._grid = channels(grid, names), grid
        self.methods, self.leads, self.regions = tuple(methods), tuple(leads), tuple(regions)
        self.winds = winds(self.channels)
        shape = len(self.methods), len(self.leads), len(self.regions)
        self._sums = {name: np.zeros((*shape, len(self.channels))) for name in ("mse", "bias", "acc")}
        self._wind_sums = np.zeros((*shape, len(self.winds)))
        self._of_members: dict[str, np.ndarray] = {}
        self._windows = np.zeros(len(self.leads), int)
        self._band: Any = _band(grid) if with_spectra and grid.periodic else None
        waves = len(grid.longitude_W) // 2 + 1
        self._spectra: Any = None
        if self._band is not None:
            self._spectra = np.zeros((shape[0] + 1, shape[1], len(self.channels), waves))
        self._areas: list[tuple[list[int], list[Area | None]]] = []

    def add(
        self, lead: int, forecasts: dict[str, np.ndarray], truth: np.ndarray, climate: np.ndarray
    ) -> None:
        """Forecasts at one lead, by method; truth and climate; all [B, C, H, W]."""
        at = self.leads.index(lead)
        if not self._areas:
            self._areas = self._found_areas(np.isfinite(truth[0]))
        self._windows[at] += len(truth)
        for row, method in enumerate(self.methods):
            forecast = forecasts[method]
            for places, by_region in self._areas:
                # All of them in their order are no copy.
                chosen = slice(None) if len(places) == len(self.channels) else places
                f, t, c = forecast[:, chosen], truth[:, chosen], climate[:, chosen]
                for region, area in enumerate(by_region):
                    where = row, at, region, chosen
                    if area is None:
                        for sums in self._sums.values():
                            sums[where] = np.nan
                        continue
                    self._sums["mse"][where] += metrics.mean_square_error(f, t, area).sum(0)
                    self._sums["bias"][where] += metrics.bias(f, t, area).sum(0)
                    self._sums["acc"][where] += metrics.acc(f, t, c, area).sum(0)
            self._add_winds(row, at, forecast, truth)
            if self._band is not None:
                self._spectra[row, at] += self._spectrum(forecast)
        if self._band is not None:
            self._spectra[-1, at] += self._spectrum(truth)

    def add_members(self, lead: int, members: np.ndarray, truth: np.ndarray) -> None:
        """Ensembles of forecasts [M, B, C, H, W], at a lead that `add` was told of; truth [B, C, H, W]."""
        at = self.leads.index(lead)
        if not self._of_members:
            shape = len(self.leads), len(self.regions), len(self.channels)
            self._of_members = {name: np.zeros(shape) for name in ("crps", "variance", "square")}
        for places, by_region in self._areas:
            chosen = slice(None) if len(places) == len(self.channels) else places
            m, t = members[:, :, chosen], truth[:, chosen]
            for region, area in enumerate(by_region):
                found: Any = [np.array([np.nan])] * 3
                if area is not None:
                    found = [metrics.crps(m, t, area).score, *metrics.ensemble_squares(m, t, area)]
                for sums, values in zip(self._of_members.values(), found, strict=True):
                    sums[at, region, chosen] += values.sum(0)

    def finish(self) -> WeatherScores:
        """Means over all that was added, and roots of them."""
        windows_T = self._windows[:, None, None]
        with np.errstate(invalid="ignore", divide="ignore"):
            means = {name: sums / windows_T for name, sums in self._sums.items()}
            wind_rmse = np.sqrt(self._wind_sums / windows_T)
            values = {"rmse": np.sqrt(means["mse"]), "bias": means["bias"], "acc": means["acc"]}
            ensemble = None
            if self._of_members:
                crps, variance, square = (sums / windows_T for sums in self._of_members.values())
                spread, skill = np.sqrt(variance), np.sqrt(square)
                ensemble = {"crps": crps, "spread": spread, "skill": skill, "ratio": spread / skill}
            spectra = None if self._spectra is None else self._spectra / windows_T
        return WeatherScores(
            self.channels, self.winds, self.methods, self.leads, self.regions,
            int(self._windows.max(initial=0)), values, wind_rmse, spectra, ensemble,
        )  # fmt: skip

    def _add_winds(self, row: int, at: int, forecast: np.ndarray, truth: np.ndarray) -> None:
        for place, pair in enumerate(self.winds):
            by_region = next(of for places, of in self._areas if pair.u in places)
            for region, area in enumerate(by_region):
                error = np.array([np.nan])
                if area is not None:
                    one, other = ((of[:, pair.u], of[:, pair.v]) for of in (forecast, truth))
                    error = metrics.wind_vector_square_error(one, other, area)
                self._wind_sums[row, at, region, place] += error.sum()

    def _spectrum(self, fields_BxCxHxW: np.ndarray) -> np.ndarray:
        """[C, K], summed over B."""
        rows_H, weights_H = self._band
        energy = metrics.zonal_spectrum(fields_BxCxHxW[:, :, rows_H], self._grid.latitude_H[rows_H])
        return np.einsum("bchk,h->ck", energy, weights_H)

    def _found_areas(self, there_CxHxW: np.ndarray) -> list[tuple[list[int], list[Area | None]]]:
        """Fields whose cells are there alike, and the areas of those; None where a region has none of
        them."""
        groups: dict[bytes, list[int]] = {}
        for place, there in enumerate(there_CxHxW):
            groups.setdefault(there.tobytes(), []).append(place)
        latitude_H, longitude_W = self._grid.latitude_H, self._grid.longitude_W
        found = []
        for places in groups.values():
            there = there_CxHxW[places[0]]
            inside: list[Area | None] = [
                areas.area(latitude_H, longitude_W, region, there)
                if (areas.cells(latitude_H, longitude_W, region) & there).any()
                else None
                for region in self.regions
            ]
            found.append((places, inside))
        return found


def _band(grid: Grid) -> tuple[np.ndarray, np.ndarray] | None:
    """Rows in the middle latitudes, and the share of each; None where there are none."""
    distance_H = np.abs(grid.latitude_H)
    rows_H = np.flatnonzero((distance_H >= BAND[0]) & (distance_H <= BAND[1]))
    if not len(rows_H):
        return None
    weights_H = grid.weights_H[rows_H]
    return rows_H, weights_H / weights_H.sum()
