"""Initial states out of files: by coordinates and names, or refused by name."""

import os
import re
from pathlib import Path

import numpy as np
import pytest

from data_pipelines.errors import DataError
from data_pipelines.fields.grid import Grid
from data_pipelines.fields.statistics import Statistics
from data_pipelines.fields.variables import FieldNames
from pangu_jax.apps.science import initial_states
from pangu_jax.errors import UserError
from tests.apps.science.drifting import GRID, NAMES, state

REAL = Path(os.environ.get("PANGU_DATA_DIR", "")) / "weather" / "cfgrib_samples"
TIMES = np.array(["2001-01-01T00", "2001-01-01T06"], "datetime64[ns]")


def read(path, time=None, grid=GRID, names=NAMES, member=None):
    """What a forecast begins with, whatever the weather is."""
    shape = len(grid.level_L), len(names.upper)
    of_run = Statistics(
        np.zeros(shape), np.full(shape, 1e9), np.zeros(len(names.surface)), np.full(len(names.surface), 1e9)
    )
    return initial_states.read(path, time, grid, names, of_run, member)


def dataset(**changed):
    """Two states as another archive has them: south first, from -180 on, in Pa, all by long names."""
    import xarray as xr

    upper, surface = (np.stack(parts) for parts in zip(*(state(place) for place in range(2)), strict=True))
    longitude = (GRID.longitude_W + 180) % 360 - 180
    coordinates = {"time": TIMES, "level": GRID.level_L, "latitude": GRID.latitude_H, "longitude": longitude}
    dimensions = ("time", "level", "latitude", "longitude")
    fields = {
        "temperature": (dimensions, upper[..., 0], {"units": "K"}),
        "u_component_of_wind": (dimensions, upper[..., 1], {"units": "m s-1"}),
        "v": (dimensions, upper[..., 2], {"units": "m/s"}),
        "surface_pressure": ((dimensions[0], *dimensions[2:]), surface[..., 0] / 100, {"units": "hPa"}),
    }
    made = xr.Dataset(fields, coordinates).sortby("latitude").sortby("longitude").sortby("level")
    made["level"] = ("level", made["level"].values * 100, {"units": "Pa"})
    for name, change in changed.items():
        made = change(made) if callable(change) else made.rename({name: change})
    return made


def test_a_state_is_found_by_coordinates(tmp_path):
    path = tmp_path / "in.nc"
    dataset().transpose("longitude", "time", "latitude", "level").to_netcdf(path)
    found = read(path, "2001-01-01T06")
    assert str(found.time) == "2001-01-01T06" and not found.simulated and not found.missing
    np.testing.assert_array_equal(found.upper_LxHxWxU, state(1)[0])
    np.testing.assert_allclose(found.surface_HxWxS, state(1)[1], rtol=1e-6)


def test_a_state_of_a_forecast_is_of_the_time_it_is_valid_at(tmp_path):
    data = dataset(change=lambda data: data.rename(time="valid_time").assign_coords(step=6))
    data.to_netcdf(tmp_path / "in.nc")
    assert str(read(tmp_path / "in.nc", "2001-01-01T06").time) == "2001-01-01T06"


def doubled(data):
    """The seam twice, as some archives have it."""
    import xarray as xr

    return xr.concat([data, data.isel(longitude=[0]).assign_coords(longitude=[180.0])], "longitude")


def test_a_seam_that_is_there_twice_is_one(tmp_path):
    dataset(seam=doubled).to_netcdf(tmp_path / "in.nc")
    found = read(tmp_path / "in.nc", "2001-01-01T00")
    np.testing.assert_array_equal(found.upper_LxHxWxU, state(0)[0])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            lambda data: data.isel(latitude=slice(1, None)),
            "lies on another grid than the run's: it has 7 latitudes",
        ),
        (lambda data: data.assign_coords(longitude=data.longitude + 3), "lies on another grid"),
        (lambda data: data.isel(level=[0]), "t lacks the levels 850"),
        (lambda data: data.drop_vars("temperature"), "no file has t"),
        (lambda data: data.assign(t=data.temperature), "t at 500 at 2001-01-01T00 stands in"),
        (lambda data: data.assign(temperature=data.temperature.assign_attrs(units="Pa")), "Pa"),
        (lambda data: data.assign_coords(time=[0, 6]), "count from no date"),
        (lambda data: data.assign_coords(time=TIMES + np.timedelta64(30, "m")), "00:30:00 is no whole hour"),
        (lambda data: data.assign_coords(step=6), "temperature is a forecast .step is not 0.: give"),
        (lambda data: data.assign(v=data.v.where(data.v < 4, np.inf)), "v 850 hPa has infinite values"),
        (lambda data: data.expand_dims(number=2), "has 2 members .number.: choose one by --member$"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(tmp_path, change, said):
    dataset(change=change).to_netcdf(tmp_path / "in.nc")
    with pytest.raises((DataError, UserError), match=said):
        read(tmp_path / "in.nc", "2001-01-01T00")


def test_a_time_that_is_not_there_names_the_nearest(tmp_path):
    with pytest.raises(UserError, match="no state of that time; the nearest of its 2 is 2001-01-01T06"):
        initial_states.place_of(TIMES.astype("datetime64[h]"), "2001-01-01T05", tmp_path)
    with pytest.raises(UserError, match="write it as 2020-01-31T12"):
        initial_states.place_of(TIMES, "yesterday", tmp_path)


def test_what_is_no_file_of_fields_is_one_line(tmp_path):
    (tmp_path / "in.grib").write_bytes(b"GRIB no more")
    (tmp_path / "in.nc").write_bytes(b"CDF no more")
    for path in tmp_path.iterdir():
        with pytest.raises((DataError, UserError), match=re.escape(path.name)):
            read(path)


@pytest.mark.skipif(not REAL.is_dir(), reason="PANGU_DATA_DIR has no weather/cfgrib_samples")
def test_real_grib():
    import xarray as xr

    grid = Grid(np.linspace(90, -90, 61), np.arange(120) * 3.0, np.array([500.0, 850.0]))
    names = FieldNames(("t", "z"), ())
    path = REAL / "era5-levels-members.grib"
    with pytest.raises(DataError, match=r"z has 10 members: choose one by --member$"):
        read(path, None, grid, names)
    found = read(path, "2017-01-01T12", grid, names, member=3)
    plain = xr.open_dataset(path, engine="cfgrib", backend_kwargs={"indexpath": ""}).sel(
        number=3, time="2017-01-01T12", isobaricInhPa=[500, 850]
    )
    for at, name in enumerate(names.upper):
        np.testing.assert_allclose(found.upper_LxHxWxU[..., at], plain[name].values, rtol=1e-6)
    with pytest.raises(DataError, match=r"era5-levels-corrupted\.grib"):  # a message is cut off
        read(REAL / "era5-levels-corrupted.grib", None, grid, names)
