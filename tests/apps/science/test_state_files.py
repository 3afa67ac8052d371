"""Initial states out of files: by coordinates and names, or refused by name."""

import os
from pathlib import Path

import numpy as np
import pytest

from data_pipelines.errors import DataError
from data_pipelines.fields.grid import Grid
from data_pipelines.fields.variables import FieldNames
from pangu_jax.apps.science import initial_states, state_files
from pangu_jax.errors import UserError
from tests.apps.science.drifting import GRID, NAMES, state

REAL = Path(os.environ.get("PANGU_DATA_DIR", "")) / "weather" / "cfgrib_samples"
TIMES = np.array(["2001-01-01T00", "2001-01-01T06"], "datetime64[ns]")


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
        "v": (dimensions, upper[..., 2], {}),
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
    time, simulated, upper, surface = state_files.read(
        path, lambda times: initial_states.place_of(times, "2001-01-01T06", path), GRID, NAMES
    )
    assert str(time) == "2001-01-01T06" and not simulated
    np.testing.assert_array_equal(upper, state(1)[0])
    np.testing.assert_allclose(surface, state(1)[1], rtol=1e-6)


def test_a_state_of_a_forecast_is_of_the_time_it_is_valid_at(tmp_path):
    """As cfgrib has them: time is when the forecast begins."""
    later = TIMES + np.timedelta64(6, "h")
    dataset(change=lambda data: data.assign_coords(valid_time=("time", later))).to_netcdf(tmp_path / "in.nc")
    found = state_files.read(tmp_path / "in.nc", lambda times: list(times).index(later[0]), GRID, NAMES)
    assert str(found[0]) == "2001-01-01T06"
    np.testing.assert_array_equal(found[2], state(0)[0])


def doubled(data):
    """The seam twice, as some archives have it."""
    import xarray as xr

    return xr.concat([data, data.isel(longitude=[0]).assign_coords(longitude=[180.0])], "longitude")


def test_a_seam_that_is_there_twice_is_one(tmp_path):
    dataset(seam=doubled).to_netcdf(tmp_path / "in.nc")
    found = state_files.read(tmp_path / "in.nc", lambda times: 0, GRID, NAMES)
    np.testing.assert_array_equal(found[2], state(0)[0])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda data: data.isel(latitude=slice(1, None)), "another grid than the run's: it has 7 latitudes"),
        (lambda data: data.assign_coords(longitude=data.longitude + 3), "another grid"),
        (lambda data: data.isel(level=[0]), "has no level 850"),
        (lambda data: data.drop_vars("temperature"), "has no t, which the run reads; it has sp, u, v"),
        (lambda data: data.assign(t=data.temperature), "several variables that are t"),
        (lambda data: data.assign(temperature=data.temperature.assign_attrs(units="degC")), "t is in degC"),
        (lambda data: data.drop_vars("time"), "t has no time"),
        (lambda data: data.assign_coords(time=[0, 6]), "in a calendar that is not the common one"),
        (lambda data: data.expand_dims(number=2), "a dimension number"),
        (lambda data: data.assign_coords(time=TIMES + np.timedelta64(30, "m")), "T00:30:00, which is no whole"),
        (lambda data: data.assign_coords(step=6), "has step 6: give valid_time"),
        (lambda data: data.assign_coords(level=data.level.assign_attrs(units="km")), "are in km"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(tmp_path, change, said):
    dataset(change=change).to_netcdf(tmp_path / "in.nc")
    with pytest.raises(DataError, match=said):
        state_files.read(tmp_path / "in.nc", lambda times: 0, GRID, NAMES)


def test_a_time_that_is_not_there_names_the_nearest(tmp_path):
    with pytest.raises(UserError, match="no state of that time; the nearest of its 2 is 2001-01-01T06"):
        initial_states.place_of(TIMES.astype("datetime64[h]"), "2001-01-01T05", tmp_path)
    with pytest.raises(UserError, match="write it as 2020-01-31T12"):
        initial_states.place_of(TIMES, "yesterday", tmp_path)


def test_what_is_no_file_of_fields_is_one_line(tmp_path):
    (tmp_path / "in.grib").write_bytes(b"GRIB no more")
    (tmp_path / "in.nc").write_bytes(b"CDF no more")
    for path in tmp_path.iterdir():
        with pytest.raises(DataError, match="cannot be read"):
            state_files.read(path, lambda times: 0, GRID, NAMES)


@pytest.mark.skipif(not REAL.is_dir(), reason="PANGU_DATA_DIR has no weather/cfgrib_samples")
def test_real_grib():
    grid = Grid(np.linspace(90, -90, 61), np.arange(120) * 3.0, np.array([500.0, 850.0]))
    names = FieldNames(("t", "z"), ())
    with pytest.raises(DataError, match="a dimension number"):
        state_files.read(REAL / "era5-levels-members.grib", lambda times: 0, grid, names)
    with pytest.raises(DataError, match=r"cannot be read|has no"):  # a message is cut off
        state_files.read(REAL / "era5-levels-corrupted.grib", lambda times: 0, grid, names)
