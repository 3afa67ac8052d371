"""Files of forecasts, as other tools read them."""

import shutil
import subprocess

import numpy as np
import pytest

from pangu_jax.apps.science import forecast_files
from pangu_jax.apps.science.forecast_files import ForecastFile
from pangu_jax.errors import UserError
from tests.apps.science.drifting import GRID, NAMES, state

BEGIN = np.datetime64("2001-01-02T00", "h")


def written(path):
    """Three states."""
    with ForecastFile(
        path, GRID, NAMES, BEGIN, [0, 12, 18], 1, {"title": "a forecast"}, simulated=True
    ) as file:
        for place in range(3):
            file.put(place, 0, tuple(part[None] for part in state(place)))
    return path


@pytest.mark.parametrize("ending", [".nc", ".zarr"])
def test_it_is_described_by_the_cf_conventions(tmp_path, ending):
    import xarray as xr

    path = written(tmp_path / f"out{ending}")
    found = xr.open_dataset(path, engine="zarr" if ending == ".zarr" else None)
    assert found["t"].dims == ("time", "level", "latitude", "longitude")
    assert found["sp"].dims == ("time", "latitude", "longitude")
    for place in range(3):
        upper, surface = state(place)
        np.testing.assert_array_equal(np.stack([found[n].values[place] for n in NAMES.upper], -1), upper)
        np.testing.assert_array_equal(found["sp"].values[place], surface[..., 0])
    np.testing.assert_array_equal(found["time"].values, BEGIN + np.array([0, 12, 18], "timedelta64[h]"))
    assert list(found["forecast_period"].values) == [0, 12, 18] and "forecast_period" in found.coords
    assert found["forecast_reference_time"].values == BEGIN
    assert found["t"].attrs["standard_name"] == "air_temperature" and found["t"].attrs["units"] == "K"
    for name, axis in (("time", "T"), ("level", "Z"), ("latitude", "Y"), ("longitude", "X")):
        assert found[name].attrs["axis"] == axis
    assert found["level"].attrs["positive"] == "down" and found.attrs["Conventions"].startswith("CF-1.")
    assert found["time"].attrs["comment"] == "a simulation's own time"


@pytest.mark.skipif(shutil.which("cdo") is None, reason="there is no cdo")
@pytest.mark.parametrize("ending", [".nc", ".zarr"])
def test_cdo_reads_the_same_numbers(tmp_path, ending):
    path = written(tmp_path / f"out{ending}")
    given = str(path) if ending == ".nc" else f"file://{path}#mode=zarr,file"
    asked = ["cdo", "-s", "outputtab,date,time,lev,value", "-selname,v", "-seltimestep,2", given]
    ran = subprocess.run(asked, capture_output=True, text=True, check=True, timeout=60)
    rows = [row.split() for row in ran.stdout.splitlines() if row and not row.startswith("#")]
    assert {tuple(row[:2]) for row in rows} == {("2001-01-02", "12:00:00")}
    assert [float(row[2]) for row in rows] == [850.0] * 128 + [500.0] * 128
    np.testing.assert_allclose([float(row[3]) for row in rows], state(1)[0][..., 2].ravel(), rtol=1e-4)


def test_what_is_there_is_not_written_over(tmp_path):
    path = written(tmp_path / "out.nc")
    with pytest.raises(UserError, match="is there already"):
        forecast_files.require_new(path)
    with pytest.raises(UserError, match="there is no folder"):
        forecast_files.require_new(tmp_path / "none" / "out.nc")
