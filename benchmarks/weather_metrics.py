"""Scores of real fields: this library and weatherbench2 on the same arrays, in turns; equal, and how fast.

ERA5's ensemble of ten members, temperature and geopotential at two levels, four times, 61 x 120 cells (a
file of cfgrib's tests, `weather/cfgrib_samples/era5-levels-members.grib` below PANGU_DATA_DIR). The first
member is the truth, the others forecasts of it. Of each score: the largest relative difference in float64
and float32, milliseconds by the clock, the least of some rounds, and the ratio. weatherbench2 is on no
registry:

    git clone https://github.com/google-research/weatherbench2 FOLDER
    python -m benchmarks.weather_metrics --weatherbench2 FOLDER [--rounds 15] [--json FILE]

Without it this library alone is timed.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from pangu_jax.apps.science import areas, metrics

FILE = "weather/cfgrib_samples/era5-levels-members.grib"
NAMES = ("t", "z")
BARS = {"float64": 1e-12, "float32": 1e-6}
SHARE = 0.1  # of weatherbench2's time
Score = Callable[[], np.ndarray]


def opened() -> Any:
    """The file, latitudes ascending as weatherbench2 asks, float64."""
    import xarray

    path = Path(os.environ.get("PANGU_DATA_DIR", "data")) / FILE
    if not path.exists():
        sys.exit(f"{path} is not there: set PANGU_DATA_DIR to the folder that has {FILE}")
    found = xarray.open_dataset(path, engine="cfgrib", backend_kwargs={"indexpath": ""})
    found = found.drop_vars(["step", "valid_time"]).rename(isobaricInhPa="level", number="realization")
    order = ("realization", "time", "level", "latitude", "longitude")
    found = found.sortby("latitude").load().astype(np.float64).transpose(*order)
    # Sorting leaves them in another order in memory: neither library is to be timed for that.
    return found.map(lambda of: of.copy(data=np.ascontiguousarray(of.values)))


def ours(fields: Any) -> dict[str, Score]:
    """By name; each gives [variable, level]."""
    x = np.ascontiguousarray(np.stack([fields[name].values for name in NAMES], 2))
    truth, forecast, ensemble = x[0], x[1], x[1:]
    climate = np.broadcast_to(x.mean((0, 1)), truth.shape)
    area = areas.area(fields.latitude.values, fields.longitude.values)
    latitude_H = fields.latitude.values
    wind = (forecast[:, 0], forecast[:, 1]), (truth[:, 0], truth[:, 1])
    spread = lambda: metrics.spread_skill(ensemble, truth, area)  # noqa: E731
    return {
        "mean square error": lambda: metrics.mean_square_error(forecast, truth, area).mean(0),
        "bias": lambda: metrics.bias(forecast, truth, area).mean(0),
        "ACC": lambda: metrics.acc(forecast, truth, climate, area).mean(0),
        "wind vector": lambda: metrics.wind_vector_rmse(*wind, area) ** 2,
        "CRPS": lambda: metrics.crps(ensemble, truth, area).score.mean(0),
        "spread and skill": lambda: (lambda both: np.stack([both.spread**2, both.skill**2]))(spread()),
        "zonal spectrum": lambda: metrics.zonal_spectrum(truth[:, 1], latitude_H)[..., 5:-5, :20],
    }


def theirs(fields: Any, folder: str) -> dict[str, Score]:
    """The same by weatherbench2."""
    sys.path.insert(0, folder)
    from weatherbench2 import derived_variables
    from weatherbench2 import metrics as weatherbench

    truth = fields.isel(realization=0, drop=True)
    ensemble = fields.isel(realization=slice(1, None))
    forecast = ensemble.isel(realization=0, drop=True)
    climate = fields.mean(("realization", "time")).expand_dims(dayofyear=[1, 2])
    wind = weatherbench.WindVectorMSE("t", "z", "wind")

    def stacked(found: Any) -> np.ndarray:
        return np.stack([found[name].values for name in NAMES])

    def score(metric: Any, of: Any = forecast) -> Score:
        # A new object each time: what is kept of the last one by its identity is not used.
        return lambda: stacked(metric.compute(of.copy(), truth))

    variance, error = (
        score(weatherbench.EnsembleVariance(), ensemble),
        score(weatherbench.EnsembleMeanMSE(), ensemble),
    )
    spectrum = derived_variables.ZonalEnergySpectrum("z")
    order = ("time", "level", "latitude", "zonal_wavenumber")
    return {
        "mean square error": score(weatherbench.MSE()),
        "bias": score(weatherbench.Bias()),
        "ACC": score(weatherbench.ACC(climate)),
        "wind vector": lambda: wind.compute_chunk(forecast, truth).mean("time").values,
        "CRPS": score(weatherbench.CRPS(), ensemble),
        "spread and skill": lambda: np.stack([variance(), error()]),
        "zonal spectrum": lambda: spectrum.compute(truth[["z"]]).transpose(*order).values[..., 5:-5, :20],
    }


def least(scores: list[Score], rounds: int) -> list[float]:
    """Milliseconds of each by the clock, in turns, the least of all rounds."""
    found = []
    for _ in range(rounds):
        times = []
        for score in scores:
            began = time.perf_counter()
            score()
            times.append(1000 * (time.perf_counter() - began))
        found.append(times)
    return np.min(found, 0).tolist()


def main() -> int:
    """Prints a table; 1 where a score differs or takes too long."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--weatherbench2", metavar="FOLDER", help="a checkout of it")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--json", metavar="FILE")
    given = parser.parse_args()
    exact = opened()
    rows, failed = [], False
    for dtype, bar in BARS.items():
        fields = exact.astype(dtype)
        mine, whole = ours(fields), ours(exact)
        peer = theirs(fields, given.weatherbench2) if given.weatherbench2 else {}
        truths = theirs(exact, given.weatherbench2) if given.weatherbench2 else {}
        for name, score in mine.items():
            row: dict[str, Any] = {"score": name, "dtype": dtype}
            row["milliseconds"], *beside = least([score, *([peer[name]] if peer else [])], given.rounds)
            if peer:
                # In float32 both round; whose fields are float64 is the one to be near to.
                wanted = truths[name]() if name in ("spread and skill", "zonal spectrum") else peer[name]()
                row["difference"] = float(np.max(np.abs(score() / wanted - 1)))
                if name == "zonal spectrum":  # single waves of next to no energy: beside the greatest
                    row["difference"] = float(np.max(np.abs(score() - wanted)) / np.max(wanted))
                row["weatherbench2_milliseconds"] = beside[0]
                row["share"] = row["milliseconds"] / beside[0]
                failed |= row["difference"] > bar or row["share"] > SHARE
            else:
                row["difference_from_float64"] = float(np.max(np.abs(score() / whole[name]() - 1)))
            rows.append(row)
            print(
                "  ".join(
                    f"{value:.3g}" if isinstance(value, float) else f"{value:<18}" for value in row.values()
                )
            )
    if given.json:
        Path(given.json).write_text(json.dumps({"rows": rows}, indent=1) + "\n")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
