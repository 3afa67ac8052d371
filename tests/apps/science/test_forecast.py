"""`pangu forecast`: runs of two leads, as one."""

import html
import json
import re
import shutil

import numpy as np
import pytest

from data_pipelines.errors import DataError
from data_pipelines.fields.grid import Grid
from pangu_jax.apps.science import coastlines, forecast_page, stepping
from pangu_jax.apps.science.forecaster import Forecaster
from pangu_jax.apps.science.forecasting import EnsembleAsked, forecast
from pangu_jax.errors import UserError
from pangu_jax.runs import opening
from tests.apps.science.drifting import GRID, NAMES, state

SHORT = 6  # hours of the second run


@pytest.fixture(scope="module")
def short_run(run_dir, tmp_path_factory):
    """The same parameters as a run of another lead, whose changes are half as large."""
    directory = tmp_path_factory.mktemp("short") / "six"
    shutil.copytree(run_dir, directory)
    kept = json.loads((directory / "fields.json").read_text())
    kept["increments"] = {name: (np.array(of) / 2).tolist() for name, of in kept["increments"].items()}
    (directory / "fields.json").write_text(json.dumps(kept | {"lead_hours": SHORT}))
    return directory


@pytest.fixture(scope="module")
def runs(run_dir, short_run):
    return [opening.open_run(directory, family="science") for directory in (short_run, run_dir)]


@pytest.fixture(scope="module")
def model(runs):
    """What every test here steps with: its programs are compiled once."""
    return Forecaster(runs)


def test_states_go_from_model_to_model(model):
    assert model.models == (12, SHORT) and model.change_hours == SHORT
    ahead = tuple(part[None] for part in state(3))
    found = dict(model(ahead, stepping.calls([30], model.models)))
    assert list(found) == [12, 24, 30]
    changes = []
    for one, step in zip(found.values(), (12, 12, SHORT), strict=True):
        (other,) = model._steps[step](ahead, 1)
        for mine, theirs in zip(one, other, strict=True):
            np.testing.assert_array_equal(mine, theirs)
        changes.append(np.std(one[1] - ahead[1]))
        ahead = one
    assert changes[2] < 0.8 * min(changes[:2])  # the last step is the other model's


def test_a_forecast_is_written_for_other_tools(pangu, model, run_dir, short_run, store, tmp_path):
    import xarray as xr

    out, page = tmp_path / "out.nc", tmp_path / "maps.html"
    status, said, _ = pangu(
        "forecast", "--run_dir", run_dir, "--run_dir", short_run, "--init", store, "--lead", "30h",
        "--time", "2001-01-02T00", "--out", out, "--html", page,
    )  # fmt: skip
    assert status == 0 and "30 h = 12 + 12 + 6: 3 calls, and 3 for all leads" in said
    found = xr.open_dataset(out)
    assert [str(time)[5:13] for time in found["time"].values] == [
        "01-02T00",
        "01-02T12",
        "01-03T00",
        "01-03T06",
    ]
    initial = state(4)
    np.testing.assert_array_equal(np.stack([found[name].values[0] for name in NAMES.upper], -1), initial[0])
    *_, (_, last) = model(tuple(part[None] for part in initial), stepping.calls([30], model.models))
    np.testing.assert_allclose(found["sp"].values[-1], last[1][0, ..., 0], rtol=1e-6)
    text = html.unescape(page.read_text())
    assert "t 850 hPa" in text and "data:image/png" in text and coastlines.said() in text
    assert not list(tmp_path.glob("*.partial"))


def test_an_ensemble_is_the_same_in_one_file_and_in_several(model, store, tmp_path):
    import xarray as xr

    asked = EnsembleAsked(members=3, seed=5)
    made = forecast(model, store, 12, tmp_path / "all.nc", every=6, ensemble=asked)
    assert (made.leads, made.steps, len(made.calls)) == ([6, 12], (12,), 2)
    forecast(model, store, 12, tmp_path / "one-{member}.nc", every=6, ensemble=asked)
    together = xr.open_dataset(tmp_path / "all.nc")["u"]
    assert together.dims[:2] == ("realization", "time")
    for member in range(3):
        alone = xr.open_dataset(tmp_path / f"one-{member:03d}.nc")["u"]
        np.testing.assert_array_equal(alone.values, together.values[member])
    assert together.values.std(0).min() > 0
    shown = next(field for field in made.fields if field.channel.variable == "u")
    of_level = together.values[:, :, GRID.level_L.tolist().index(shown.channel.level)].astype(np.float64)
    np.testing.assert_allclose(shown.mean_TxHxW, of_level.mean(0), rtol=1e-6)
    np.testing.assert_allclose(shown.spread_TxHxW, of_level.std(0, ddof=1), rtol=1e-4, atol=1e-6)
    assert "deviation of the members" in forecast_page.render(made, [])


def test_a_forecast_goes_on_from_a_forecast(model, store, tmp_path):
    import xarray as xr

    forecast(model, store, 24, tmp_path / "whole.nc")
    forecast(model, store, 12, tmp_path / "half.zarr")
    forecast(model, tmp_path / "half.zarr", 12, tmp_path / "rest.nc")
    whole, rest = (xr.open_dataset(tmp_path / name)["v"] for name in ("whole.nc", "rest.nc"))
    np.testing.assert_array_equal(rest.values[-1], whole.values[-1])
    assert rest["time"].values[-1] == whole["time"].values[-1]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (
            {"lead": 7},
            "a lead of 7 h cannot be made of steps of 12 h and 6 h: the nearest that can is 6 h or 12 h",
        ),
        ({"every": 5}, "a lead of 5 h cannot be made"),
        ({"time": "1999-01-01T00"}, "has no state of that time; the nearest of its 140"),
        ({"ensemble": EnsembleAsked(0)}, "--members 0"),
        ({"ensemble": EnsembleAsked(2, float("nan"))}, "--perturbation nan"),
        ({"out": "out.txt"}, "name a file that ends in .nc or .zarr"),
        ({"init": "nothing.nc"}, "there is no such file"),
    ],
)
def test_what_cannot_be_forecast_is_refused(model, store, tmp_path, given, said):
    asked = {"init": store, "lead": 12, "out": tmp_path / "out.nc"} | given
    with pytest.raises(UserError, match=re.escape(said)):
        forecast(model, **asked)
    assert not list(tmp_path.iterdir())


def test_a_forecast_that_ends_early_leaves_nothing(model, store, tmp_path):
    def interrupted(done, count):
        raise KeyboardInterrupt

    for name in ("out.nc", "out.zarr", "{member}.nc"):
        with pytest.raises(KeyboardInterrupt):
            forecast(model, store, 24, tmp_path / name, ensemble=EnsembleAsked(2), say=interrupted)
    assert not list(tmp_path.iterdir())


def fewer_levels(_, upper, surface):
    return Grid(GRID.latitude_H, GRID.longitude_W, GRID.level_L[:1]), upper[:1], surface


def another_grid(_, upper, surface):
    return Grid(GRID.latitude_H + 1, GRID.longitude_W, GRID.level_L), upper, surface


def other_units(_, upper, surface):
    return GRID, upper, surface / 100


def nothing_there(place, upper, surface):
    if place == 1:  # the last, which is taken
        upper[0, ..., 0] = np.nan
    return GRID, upper, surface


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (fewer_levels, "level 500 is not there; there are 850 (hPa)"),
        (another_grid, "lies on another grid than the run's: it has latitudes such as 79.75 where 78.75"),
        (other_units, "these are other units, another variable, or the run is of another set"),
        (nothing_there, "t 850 hPa is missing everywhere"),
    ],
)
def test_a_state_of_another_kind_is_refused(model, tmp_path, change, said):
    from data_pipelines.fields.writing import write_store

    grid, *_ = change(0, *state(0))
    times = np.array(["2001-01-01T00", "2001-01-01T06"], "datetime64[h]")
    write_store(tmp_path / "in.zarr", grid, NAMES, times, lambda place: change(place, *state(place))[1:])
    with pytest.raises((UserError, DataError), match=re.escape(said)):
        forecast(model, tmp_path / "in.zarr", 12, tmp_path / "out.nc")
    assert not (tmp_path / "out.nc").exists()


def test_runs_that_do_not_go_together_are_one_line(pangu, run_dir, short_run, store, tmp_path):
    asked = ("--init", store, "--lead", "12h", "--out", tmp_path / "out.nc")
    other = tmp_path / "other"
    shutil.copytree(short_run, other)
    kept = json.loads((other / "fields.json").read_text())
    of_another_set, on_another_grid = json.loads(json.dumps([kept, kept]))
    of_another_set["statistics"]["surface_mean_S"][0] /= 100
    on_another_grid["grid"]["latitude"][0] = 80.0
    for changed, said in (
        (kept | {"lead_hours": 12}, "both step by 12 h"),
        (of_another_set, "its statistics are of another set"),
        (on_another_grid, "it has latitudes such as 80 where 78.75"),
    ):
        (other / "fields.json").write_text(json.dumps(changed))
        status, _, err = pangu("forecast", "--run_dir", run_dir, "--run_dir", other, *asked)
        assert status == 2 and said in err and "Traceback" not in err
    status, _, err = pangu("forecast", "--run_dir", run_dir, *asked[:2], "--lead", "soon", *asked[4:])
    assert status == 2 and "--lead soon: write whole hours or days" in err
