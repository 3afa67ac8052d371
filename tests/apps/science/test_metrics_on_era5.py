"""Scores of real fields are WeatherBench 2's own: its metrics.py at 030f4207 said these numbers, in float64.

How they were made: benchmarks/weather_metrics.py, which runs both side by side.
"""

import os
from pathlib import Path

import numpy as np
import pytest

from pangu_jax.apps.science import areas, metrics

FILE = Path(os.environ.get("PANGU_DATA_DIR", "data")) / "weather/cfgrib_samples/era5-levels-members.grib"
# Temperature and geopotential at 850 and 500 hPa; the first of ten members is the truth, the second a
# forecast.
SAID = {
    "square": [[0.3209601689709797, 0.09655040425754347], [346.4290551443481, 310.1071067783396]],
    "bias": [[0.0002991463781262401, 0.011760702139113816], [0.6000964706836813, -0.5485494463413547]],
    "acc": [[0.9397070260375365, 0.9832155974603991], [0.9961772912761048, 0.9982956865745586]],
    "crps": [[0.144691758605588, 0.0931299138343159], [4.833672393790691, 5.156733351400595]],
    "variance": [[0.20871420069676372, 0.06526956979025934], [234.66737600950282, 218.44577109535706]],
    "mean_square": [[0.12019313156212068, 0.04016826026313324], [122.0950336380967, 108.16948798326294]],
}
WIND = [346.7500153133192, 310.2036571825972]  # of temperature and geopotential as if they were one
SPECTRUM = [8.217091733514944e16, 14389456830461.994, 16590441427696.512, 28853663451034.016]


@pytest.fixture(scope="module")
def members():
    """float64 [M, T, variable, L, H, W], and coordinates."""
    xarray = pytest.importorskip("xarray")
    pytest.importorskip("cfgrib")
    if not FILE.exists():
        pytest.skip(f"{FILE} is not there: set PANGU_DATA_DIR")
    opened = xarray.open_dataset(FILE, engine="cfgrib", backend_kwargs={"indexpath": ""})
    fields = np.stack([opened[name].transpose("number", "time", ...).values for name in ("t", "z")], 2)
    return fields.astype(np.float64), opened.latitude.values, opened.longitude.values


@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float64, 1e-12), (np.float32, 1e-6)])
def test_real_fields_score_as_weatherbench_says(members, dtype, tolerance):
    fields, latitude_H, longitude_W = members
    area = areas.area(latitude_H, longitude_W)
    climate = fields.mean((0, 1)).astype(dtype)
    fields = fields.astype(dtype)
    truth, forecast, ensemble = fields[0], fields[1], fields[1:]
    both = metrics.spread_skill(ensemble, truth, area)
    found = {
        "square": metrics.mean_square_error(forecast, truth, area).mean(0),
        "bias": metrics.bias(forecast, truth, area).mean(0),
        # A climate in float32 is off by as much as its rounding: anomalies of a height lose five digits.
        "acc": metrics.acc(forecast, truth, np.broadcast_to(climate, truth.shape), area).mean(0),
        "crps": metrics.crps(ensemble, truth, area).score.mean(0),
        "variance": both.spread**2,
        "mean_square": both.skill**2,
    }
    for name, values in found.items():
        np.testing.assert_allclose(values, SAID[name], rtol=tolerance, err_msg=name)
    wind = metrics.wind_vector_rmse((forecast[:, 0], forecast[:, 1]), (truth[:, 0], truth[:, 1]), area)
    np.testing.assert_allclose(wind**2, WIND, rtol=tolerance)
    at = int(np.flatnonzero(latitude_H == 45)[0])
    np.testing.assert_allclose(
        metrics.zonal_spectrum(truth[0, 1, 1], latitude_H)[at, :4], SPECTRUM, rtol=1e-10
    )
