"""A run's forecasts measured: `pangu eval`, the files it writes, and what a report shows."""

import json

import numpy as np
import pytest

from data_pipelines.fields.store import FieldStore
from pangu_jax.apps.science import areas, metrics
from pangu_jax.apps.science.channels import as_channels, channels, told, units_said, winds
from pangu_jax.apps.science.measuring import page
from tests.apps.science.drifting import GRID, NAMES, state

MEMBERS = "--gin.evaluate_weather.members=3"


@pytest.fixture(scope="module")
def measured(run_dir, tmp_path_factory):
    """JSON of `pangu eval`, and where the forecasts are."""
    from pangu_jax import cli

    folder = tmp_path_factory.mktemp("measured")
    given = ["--gin_file", "eval/weather.gin", "--run_dir", str(run_dir), "--json", str(folder / "out.json")]
    to = f"--gin.evaluate_weather.forecasts={folder / 'forecasts.zarr'}"
    status = cli.main(["eval", *given, "--gin.evaluate_weather.longest_lead=24", MEMBERS, to])
    assert status == 0
    return json.loads((folder / "out.json").read_text()), folder / "forecasts.zarr"


def rows(found, **wanted):
    return [row for row in found["rows"] if all(row[name] == value for name, value in wanted.items())]


def test_forecasts_that_were_written_score_what_was_said(measured, store):
    """By xarray, from the Zarr: latitudes ascend there, and time and lead give the truth's time."""
    import xarray as xr

    found, path = measured
    written = xr.open_zarr(path)
    assert written.temperature.dims == ("time", "prediction_timedelta", "level", "latitude", "longitude")
    assert (np.diff(written.latitude) > 0).all() and not np.isnan(written.longitude).any()
    assert written.prediction_timedelta.values.tolist() == [12 * 3600 * 10**9, 24 * 3600 * 10**9]
    opened = FieldStore.open(store)
    area = areas.area(written.latitude.values, written.longitude.values)
    for at, lead in enumerate((12, 24)):
        later = [
            int(h) + lead
            for h in (
                written.time.values.astype("datetime64[h]") - np.datetime64("1900-01-01T00", "h")
            ).astype(int)
        ]
        truth = np.stack([opened.read(opened.place_of[hours])[0][..., 0] for hours in later])
        rmse = metrics.rmse(written.temperature.values[:, at], truth[:, :, ::-1], area)
        for level, value in zip((850.0, 500.0), rmse, strict=True):
            (row,) = rows(
                found, variable="t", level=level, lead_hours=lead, region="global", method="forecast"
            )
            assert row["rmse"] == pytest.approx(value, rel=1e-9)


def test_forecasts_that_end_early_are_not_there(tmp_path):
    from pangu_jax.apps.science.measuring.forecast_zarr import ForecastZarr

    path = tmp_path / "f.zarr"
    written, (upper, surface) = ForecastZarr(path, GRID, NAMES, [12, 24]), state(0)
    for lead in (12, 24):
        written.add(np.array(["2001-01-01T00"], "datetime64[h]"), lead, (upper[None], surface[None]))
    assert not path.exists()
    written.finish()
    assert path.exists() and len(list(tmp_path.iterdir())) == 1


def test_fields_in_other_units_are_refused(pangu, run_dir, tmp_path):
    from data_pipelines.fields.writing import write_store

    def celsius(place):
        upper, surface = state(place)
        return upper - np.float32([273.15, 0, 0]), surface

    times = np.datetime64("2001-01-01T00") + np.arange(8) * np.timedelta64(6, "h")
    write_store(tmp_path / "c.zarr", GRID, NAMES, times, celsius)
    given = f"--gin.fields.path={tmp_path / 'c.zarr'}"
    status, _, err = pangu("eval", "--gin_file", "eval/weather.gin", "--run_dir", run_dir, given)
    assert status == 2 and "t 850 hPa is 6.8" in err and "the run learnt from 280" in err


def test_what_is_missing_has_no_share_on_the_page():
    cells = page._cells((12, 24), np.array([[np.nan, 2.0], [1.0, np.nan], [np.nan, 1.0]]), [12, 24])
    assert [(cell.rmse, cell.share) for cell in cells] == [("–", ""), ("2", "+100 %")]


def test_controls_are_beside_it(measured, store):
    found, _ = measured
    assert {row["method"] for row in found["rows"]} == {
        "forecast",
        "persistence",
        "climatology",
        "linear map",
    }
    (persisted,) = rows(found, variable="sp", lead_hours=24, region="tropics", method="persistence")
    opened = FieldStore.open(store)
    held_out = opened.hours_N[
        opened.hours_N >= opened.hours_N[-1] - 0.3 * (opened.hours_N[-1] - opened.hours_N[0])
    ]
    starts = held_out[np.isin(held_out + 24, opened.hours_N)]
    starts = starts[np.linspace(0, len(starts) - 1, 5).astype(int)]
    now, then = (
        np.stack([opened.read(opened.place_of[int(h)])[1][..., 0] for h in starts + lead]) for lead in (0, 24)
    )
    area = areas.area(GRID.latitude_H, GRID.longitude_W, "tropics")
    assert persisted["rmse"] == pytest.approx(float(metrics.rmse(now, then, area)), rel=1e-9)
    for row in rows(found, variable="t", method="climatology"):
        assert row["acc"] is None and row["rmse"] > 0
    linear = rows(found, variable="t", method="linear map", region="global")
    assert all(row["rmse"] < 1 for row in linear)  # waves that move are linear: the noise is left
    assert {row["variable"] for row in found["rows"]} == {"t", "u", "v", "sp", "wind_vector"}


def test_an_ensemble_is_scored_beside(measured, run_dir):
    """Small perturbations: the members' mean is as far off as the forecast, the spread is less than that."""
    import xarray as xr

    found, _ = measured
    assert len(found["ensemble"]) == 2 * 4 * 7
    for row in found["ensemble"]:
        about = {name: row[name] for name in ("variable", "level", "lead_hours", "region")}
        (own,) = rows(found, method="forecast", **about)
        assert 0 < row["spread"] < row["skill"] and row["ratio"] == pytest.approx(
            row["spread"] / row["skill"]
        )
        assert row["skill"] == pytest.approx(own["rmse"], rel=0.1) and 0 < row["crps"] < own["rmse"]
    scores = xr.open_zarr(run_dir / "weather_scores.zarr", group="ensemble")
    assert scores.metric.values.tolist()[:2] == ["crps", "ensemble_stddev"]
    assert "CRPS (fair)" in (run_dir / "eval_weather.html").read_text()


def test_scores_are_a_zarr_by_weatherbench_names(measured, run_dir):
    import xarray as xr

    found, _ = measured
    for group, method in ((None, "forecast"), ("persistence", "persistence"), ("linear_map", "linear map")):
        scores = xr.open_zarr(run_dir / "weather_scores.zarr", group=group)
        one = scores.temperature.sel(
            metric="rmse", region="tropics", level=500, lead_time=np.timedelta64(12, "h")
        )
        (row,) = rows(found, variable="t", level=500.0, lead_hours=12, region="tropics", method=method)
        assert float(one) == row["rmse"]
    assert set(scores.data_vars) >= {"surface_pressure", "u_component_of_wind", "wind_vector"}


def test_the_page_needs_no_other_file(measured, run_dir):
    page = (run_dir / "eval_weather.html").read_text()
    assert page.count("data:image/png") == 5 and 'src="http' not in page and "href" not in page
    for said in (
        "Scorecard",
        "wind vector 850 hPa",
        "m s⁻¹",
        "smallest of persistence, climatology, linear map",
    ):
        assert said in page


def test_the_report_shows_maps_curves_spectra_and_the_scorecard(run_dir):
    shown = json.loads((run_dir / "exhibits.json").read_text())
    titles = " ".join(one["title"] for kind in ("pictures", "tables") for one in shown[kind])
    for said in ("forecast, truth and the difference", "RMSE over lead", "zonal spectra", "scorecard"):
        assert said in titles


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("evaluate_weather.leads=(18,)", "give multiples of the model's 12 h"),
        ("evaluate_weather.regions=('tropic',)", "did you mean 'tropics'"),
        ("evaluate_weather.controls=('luck',)", "control 'luck' is none of"),
        ("evaluate_weather.longest_lead=6", "the model steps by 12 h"),
        ("evaluate_weather.climatology='daily'", "give 'auto', 'mean' or 'day and hour'"),
        ("evaluate_weather.members=0", "give at least 2 members"),
        ("fields.lead_hours=6", "the run steps by 12 h"),
        ("fields.levels=(500.0,)", "1 levels where 2 are needed"),
    ],
)
def test_what_cannot_be_asked_is_one_line(pangu, run_dir, given, said):
    status, _, err = pangu("eval", "--gin_file", "eval/weather.gin", "--run_dir", run_dir, f"--gin.{given}")
    assert status == 2 and said in err and "Traceback" not in err


def test_fields_stand_in_the_order_of_their_names():
    of = channels(GRID, NAMES)
    assert [one.said("hPa") for one in of][:3] == ["t 850 hPa", "t 500 hPa", "u 850 hPa"] and of[
        -1
    ].level is None
    rng = np.random.default_rng(0)
    upper, surface = rng.normal(size=(2, 2, 8, 16, 3)), rng.normal(size=(2, 8, 16, 1))
    flat = as_channels(upper, surface)
    np.testing.assert_array_equal(flat[:, 3], upper[:, 1, :, :, 1])
    np.testing.assert_array_equal(flat[:, 6], surface[..., 0])
    assert [(pair.level, pair.u, pair.v) for pair in winds(of)] == [(850.0, 2, 4), (500.0, 3, 5)]
    assert [of[place].variable for place in told(of, GRID)] == ["t", "u", "v", "sp"]
    assert units_said("u") == "m s⁻¹" and units_said("wind_vector") == "m s⁻¹"
