"""Every trap of the real files: read right, or refused by name."""

import warnings

import numpy as np
import pytest

from data_pipelines.errors import DataError
from data_pipelines.fields import hours
from data_pipelines.fields.reading import blocks
from tests.data_pipelines.fields.reading.weather_files import DATA, checked, needs_data, planned, read

pytestmark = needs_data
for needed in ("xarray", "netCDF4", "eccodes", "cftime", "pint"):
    pytest.importorskip(needed)

STORM = {
    "variables": ("u@500=U500storm.cdf:u", "u10=Ustorm.cdf:u", "msl=p"),
    "time_units": "hours since 1996-01-05",
    "units": (("u", "m/s"), ("u10", "m/s"), ("msl", "Pa")),
}
WINDS = ("storm1996/Ustorm.cdf", "storm1996/U500storm.cdf", "storm1996/Pstorm.cdf")


def times(found):
    return hours.at(found.hours_N)


@pytest.mark.parametrize(
    ("file", "choices", "said"),
    [
        ("cfgrib_samples/uv_on_different_levels.grib", {},
         "v lacks the levels 850, 400.*--levels 1000 700 500"),
        ("cfgrib_samples/soil-surface-level-mix.grib", {},
         "stl1@depthBelowLandLayer is not known.*--variables"),
        ("cfgrib_samples/cams-egg4-monthly.grib", {"variables": ("t2m=t2m@avgfc", "aco2rec=aco2rec@avgfc")},
         "lacking at 2 of 4 times"),
        ("cfgrib_samples/t_analysis_and_fc_0.grib", {},
         "0.0308838 and can only be from 100 to 360 K.*difference"),
        ("cfgrib_samples/cfrzr_and_cprat.grib", {}, "cpr is not known"),
        ("cfgrib_samples/t_on_different_level_types.grib", {}, "t@hybrid is not known"),
        ("cfgrib_samples/tp_on_different_grid_resolutions.grib", {"accumulated_hours": 12.0},
         "46 latitudes where 37"),
        ("cfgrib_samples/era5-levels-corrupted.grib", {}, "message 1 .*is cut short or damaged"),
        ("cfgrib_samples/era5-levels-members.grib", {}, "10 members: choose one by --member"),
        ("cfgrib_samples/era5-levels-members.grib", {"member": 12}, "no member 12; it has 0 to 9"),
        ("cfgrib_samples/forecast_monthly_ukmo.grib", {}, "28 members"),
        ("cfgrib_samples/ncep-seasonal-monthly.grib", {}, "no whole hour|whole hours|members"),
        ("cfgrib_samples/reduced_gg.grib", {}, "of the type reduced_gg: regrid"),
        ("cfgrib_samples/lambert_grid.grib", {}, "of the type lambert: regrid"),
        ("cfgrib_samples/nam.t00z.awp21100.tm00.grib2", {}, "of the type lambert: regrid"),
        ("cfgrib_samples/spherical_harmonics.grib", {}, "of the type sh: regrid"),
        ("cfgrib_samples/ds.waveh.5.grib", {}, "of the type mercator: regrid"),
        ("cfgrib_samples/regular_gg_wrong_increment.grib", {}, "the grid of a message contradicts itself"),
        ("cfgrib_samples/regular_gg_ml.grib", {"variables": ("t",)}, "no file has t"),
        ("ncl_samples/MET9_IR108_cosmode_0909210000.grb2", {}, "of the type rotated_ll"),
        ("ncl_samples/wafsgfs_L_t06z_intdsk60.grib2", {}, "on a grid of the type"),
        ("ncl_samples/fh.0012_tl.press_gr.awp211.grb2", {}, "of the type lambert"),
        ("ncl_samples/vinth2p.nc", {}, "T is on hybrid levels: interpolate"),
        ("ncl_samples/vinth2p.nc", {"variables": ("sp",)}, "calendar standard from 0049-.*--own_calendar"),
        ("ncl_samples/rectilinear_grid_3D.nc", {}, "rhumidity is not known|var3 is not known"),
        ("ncl_samples/landsea.nc", {"variables": ("lsm=LSMASK",)}, "changes in time"),
        ("ncl_samples/uv300.nc", {"variables": ("u@300=U",)}, "units of month count from no date"),
        ("ncl_samples/941110_UV.cdf", {}, "u has no time: say it by --time"),
        ("calendars/A1B_north_america.nc", {"variables": ("t2m=air_temperature",)},
         "calendar 360_day from 1860-06"),
        ("calendars/rotated_pole.nc", {}, "on rotated or projected coordinates"),
        ("calendars/vlstr_type.nc", {}, "wind is not known"),
        ("reanalysis_means/sst_ndjfm_anom.nc", {}, "sst says no units"),
        ("reanalysis_means/sst_ndjfm_anom.nc", {"units": (("sst", "K"),)}, "can only be from 250 to 330 K"),
        ("reanalysis_means/hgt_djf.nc", {"units": (("z", "m2 s-2"),)},
         "said to be geopotential.*those of height"),
        ("storm1996/U500storm.cdf", {}, "u has no level: say which by --variables u@HPA=U500storm.cdf:u"),
        ("storm1996/Pstorm.cdf", {"variables": ("msl=p",)},
         "count from no date: say from which by --time_units"),
        ("storm1996/Pstorm.cdf", {**STORM, "units": (), "variables": ("msl=p",)}, "p says no units"),
        ("storm1996/V500storm.cdf", {**STORM, "variables": ("v@500=v",), "units": (("v", "m/s"),)},
         "v at 1996-01-14T00 has no value at all"),
        ("era5_week_1deg/era5_sample.zarr", {}, "tp is a sum over hours that the files do not say"),
        ("era5_week_1deg/LICENSE.md", {}, "neither NetCDF, GRIB nor Zarr"),
    ],
)  # fmt: skip
def test_refused_by_name(file, choices, said):
    with pytest.raises(DataError, match=said):
        found = planned(file, **choices)
        for name in found.names.every:
            checked(found, name)


def test_members_levels_and_poles_are_what_cfgrib_reads():
    cfgrib = pytest.importorskip("cfgrib")
    file = "cfgrib_samples/era5-levels-members.grib"
    found = planned(file, member=3)
    assert (
        found.names.upper == ("z", "t") and found.grid.level_L.tolist() == [850, 500] and found.grid.periodic
    )
    theirs = cfgrib.open_datasets(DATA / file, backend_kwargs={"indexpath": ""})[0].sel(number=3)
    np.testing.assert_array_equal(times(found), theirs.time.values)
    for name in ("z", "t"):
        np.testing.assert_array_equal(checked(found, name), theirs[name].values)
    assert not list((DATA / "cfgrib_samples").glob("*.idx"))


def test_variables_that_cfgrib_drops_are_there():
    """u on five levels and v on three: open_dataset gives u alone."""
    found = planned("cfgrib_samples/uv_on_different_levels.grib", levels=(1000, 700, 500))
    assert found.names.upper == ("u", "v") and len(found.hours_N) == 2
    assert np.isfinite(checked(found, "v")).all()


def test_pressure_in_pascal_and_hectopascal():
    found, t = read("cfgrib_samples/hpa_and_pa.grib", variable="t", keep_missing=True)
    assert found.grid.level_L.tolist() == [1, 0.1, 0.01] and np.isfinite(t[0, 0]).all()


def test_scanning_from_south_and_rows_to_and_fro():
    found, skt = read("cfgrib_samples/scanning_mode_64.grib", variable="skt")
    assert found.grid.latitude_H[0] == 90 and skt[0, 0, -1].mean() < skt[0, 0, 18].mean()
    other, same = read("cfgrib_samples/regular_ll_sfc.grib", variable="skt")
    assert other.grid == found.grid
    np.testing.assert_array_equal(skt, same)
    found, t2m = read("cfgrib_samples/alternate-scanning.grib", variable="t2m")
    assert (found.grid.longitude_W[0], found.grid.longitude_W[-1], found.grid.periodic) == (-10, 19, False)
    # ecCodes gives every second row mirrored: neighbours would differ by 5 K.
    assert np.abs(np.diff(t2m[0, 0], axis=0)).mean() < 0.7


def test_bitmaps_holes_and_steps_within_a_forecast():
    assert np.isnan(read("cfgrib_samples/fields_with_missing_values.grib", variable="t2m")[1]).sum() == 21699
    found = planned("cfgrib_samples/step_60m.grib", variables=("x=t2m",))
    assert set(np.diff(found.hours_N)) == {1} and len(found.hours_N) == 73
    found = planned("xarray_samples/era5-2mt-2019-03-uk.grib")
    assert len(found.hours_N) == 744 and times(found)[-1] == np.datetime64("2019-03-31T23")


def test_geopotential_may_be_negative_and_gaussian_latitudes_are_their_own():
    found, z = read("cfgrib_samples/multi_param_on_multi_dims.grib", variable="z")
    assert z.min() < -3700 and found.grid.level_L.tolist() == [1000, 850, 500, 300]
    found, _ = read("cfgrib_samples/regular_gg_sfc.grib", variable="u10")
    assert found.grid.shape == (0, 96, 192) and 88 < found.grid.latitude_H[0] < 89


def test_packing_with_a_negative_scale():
    import xarray

    file = "xarray_samples/eraint_uvz.nc"
    found = planned(file, time_units="months since 1979-01-01")
    assert found.grid.level_L.tolist() == [850, 500, 200] and found.grid.longitude_W[0] == 0
    assert times(found).tolist() == np.array(["1979-02-01T00", "1979-08-01T00"], "M8[h]").tolist()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = xarray.open_dataset(DATA / file).sortby("level", ascending=False)
    theirs = theirs.assign_coords(longitude=theirs.longitude % 360).sortby("longitude")
    np.testing.assert_allclose(checked(found, "z"), theirs.z.values, rtol=1e-7)
    with pytest.raises(DataError, match="units of nothing count from no date"):
        planned(file)


def test_levels_in_pascal_and_longitudes_from_minus_180():
    found, t = read("ncl_samples/rectilinear_grid_3D.nc", variable="t", variables=("t",))
    assert found.grid.level_L[[0, -1]].tolist() == [1000, 10] and found.grid.periodic
    assert found.grid.longitude_W[0] == 0 and t[0, 0].mean() > t[0, 10].mean()


def test_latitude_weights_are_the_files_own():
    import xarray

    found = planned("ncl_samples/uv300.nc", variables=("u@300=U",), time_units="months since 2000-01-01")
    theirs = xarray.open_dataset(DATA / "ncl_samples/uv300.nc", decode_times=False).gw.values[::-1]
    np.testing.assert_allclose(found.grid.weights_H[1:-1], (theirs / theirs.mean())[1:-1], rtol=1e-3)
    # Cells of the first and last row reach to the poles, Gauss's weights do not.
    np.testing.assert_allclose(found.grid.weights_H, theirs / theirs.mean(), rtol=0.06)


def test_height_becomes_geopotential():
    found, z = read("reanalysis_means/hgt_djf.nc", variable="z")
    assert z.min() > 4.8e4 and z.max() < 5.9e4 and "by its values it is height" in found.notices[0]
    assert times(found)[0] == np.datetime64("1948-01-15T12")  # of hours since year 1, by way of Julian dates
    found, z = read("ncl_samples/hgt.nc", variable="z")
    assert z.min() > 4.7e4 and z.max() < 5.9e4


def test_months_since_are_months_of_the_calendar():
    found = planned("ncl_samples/hgt.nc")
    assert [str(time) for time in times(found)[:3]] == ["1958-01-01T00", "1958-02-01T00", "1959-02-01T00"]


def test_a_seam_column_that_stands_twice():
    found, u = read("ncl_samples/941110_UV.cdf", variable="u", time="1994-11-10", levels=(1000,))
    assert found.grid.shape == (1, 73, 72) and found.grid.periodic and found.grid.longitude_W[0] == 0
    assert np.isfinite(u).all() and found.grid.latitude_H[0] == 90


def test_calendars_of_their_own():
    found = planned("calendars/A1B_north_america.nc", variables=("t2m=air_temperature",), own_calendar=True)
    assert found.simulated and set(np.diff(found.hours_N)) == {360 * 24}
    found = planned("ncl_samples/vinth2p.nc", variables=("sp",), own_calendar=True)
    assert found.simulated and len(found.hours_N) == 2


def test_land_is_missing_and_a_mask_of_classes_is_none(tmp_path):
    _, skt = read("calendars/ostia_monthly.nc", variable="skt")
    assert 0.25 < np.isnan(skt).mean() < 0.27 and np.nanmax(skt) < 310
    import xarray

    mask = xarray.open_dataset(DATA / "ncl_samples/landsea.nc")
    t2m = ("time", "lat", "lon"), np.full((1, 180, 360), 280.0), {"units": "K"}
    mask.assign(t2m=t2m).assign_coords(time=[np.datetime64("2000-01-01", "ns")]).to_netcdf(
        tmp_path / "both.nc"
    )
    with pytest.raises(DataError, match=r"lsm runs from 0 to 4 and can only be from -0.01 to 1.01"):
        blocks.constants_of(planned(str(tmp_path / "both.nc"), variables=("lsm=LSMASK", "t2m")))


def test_missing_value_without_fill_value_is_missing():
    _, sst = read("reanalysis_means/sst_ndjfm_anom.nc", variable="anomaly", variables=("anomaly=sst",))
    assert np.isnan(sst).any() and np.nanmax(np.abs(sst)) < 10


def test_one_name_at_two_levels_in_two_files():
    with pytest.raises(
        DataError, match=r"u10 at 1996-01-05T00 stands in .*Ustorm.cdf and in .*U500storm.cdf"
    ):
        planned(*WINDS, **{**STORM, "variables": ("u10=u", "msl=p")})
    found = planned(*WINDS, **STORM)
    assert (found.names.upper, found.names.surface) == (("u",), ("u10", "msl"))
    assert found.grid.latitude_H[0] == 60 and found.grid.longitude_W[0] == 220 and not found.grid.periodic
    u, u10 = checked(found, "u"), checked(found, "u10")
    assert np.nanmax(u) > 63 and np.nanmax(u10) < 25
    assert (np.isnan(u).sum((1, 2, 3)) == 224).all()


def test_a_nameless_time_irregular_steps_and_sums():
    file = "era5_week_1deg/era5_sample.zarr"
    found = planned(file, accumulated_hours=1.0)
    assert times(found)[[0, -1]].tolist() == np.array(["2026-03-25T00", "2026-03-31T23"], "M8[h]").tolist()
    said = " ".join(found.notices)
    assert "tp is the sum over the 1 h before each time, not over the 7 to 8 h between states" in said
    assert "steps are irregular: 17 of 7 h, 6 of 8 h" in said
    assert (checked(found, "tp") >= 0).all()
    assert "tp" not in planned(file, variables=("t2m", "msl")).names.every
