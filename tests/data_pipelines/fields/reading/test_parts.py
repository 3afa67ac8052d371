"""Units, grids, masks, times and GRIB messages, one by one."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_pipelines.errors import DataError
from data_pipelines.fields import hours
from data_pipelines.fields.reading import grib_messages, masking, times
from data_pipelines.fields.reading.choices import FieldChoices
from data_pipelines.fields.reading.grib_messages import handle, key
from data_pipelines.fields.reading.horizontal import placement
from data_pipelines.fields.reading.roles import levels_of
from data_pipelines.fields.reading.units import conversion, geopotential_or_height, height_of
from tests.data_pipelines.fields.reading.weather_files import planned, read


@settings(max_examples=60, deadline=None)
@given(
    st.integers(2, 9),
    st.sampled_from([0.0, -180.0, 20.0, -10.0, 350.0]),
    st.booleans(),
    st.booleans(),
    st.integers(3, 12),
    st.randoms(),
)
def test_any_order_of_rows_and_columns_is_one_grid(rows, first, globe, seam, columns, random):
    """A field of its own coordinates comes out as the coordinates, whatever the order in the file."""
    step = 360 / columns if globe else 5.0
    latitude, longitude = np.linspace(-80, 75, rows), first + step * np.arange(columns)
    order, turn = list(range(rows)), list(range(columns))
    random.shuffle(order)
    random.shuffle(turn)
    latitude, longitude = latitude[order], longitude[turn]
    if seam and globe:
        longitude = np.append(longitude, longitude[0] + 360)
    found = placement(latitude, longitude, "here")
    field = latitude[:, None] + np.cos(np.deg2rad(longitude))
    field_HxW = found.apply(field, "here")
    assert found.periodic == globe and field_HxW.shape == (rows, columns)
    expected = found.latitude_H[:, None] + np.cos(np.deg2rad(found.longitude_W))
    np.testing.assert_allclose(field_HxW, expected, atol=1e-9)
    found.grid((), "hPa")
    if not globe:
        np.testing.assert_allclose(np.diff(found.longitude_W), step, atol=1e-9)


def test_a_seam_with_two_values_is_refused():
    found = placement([10.0, 0.0], [0.0, 90.0, 180.0, 270.0, 360.0], "here")
    field = np.array([[0, 1, 2, 1, 0.0], [0, 1, 2, 1, 9.0]])
    with pytest.raises(DataError, match="columns 0 and 4 are at the same longitude and differ"):
        found.apply(field, "here")
    for latitude, longitude in (([1.0, 1.0], [0.0, 1.0]), ([91.0], [0.0]), ([np.nan], [0.0])):
        with pytest.raises(DataError):
            placement(latitude, longitude, "here")


@pytest.mark.parametrize(
    ("units", "to", "name", "scale", "shift"),
    [
        ("m2 s-2", "m**2 s**-2", "z", 1, 0), ("m", "m**2 s**-2", "z", 9.80665, 0),
        ("gpm", "m**2 s**-2", "z", 9.80665, 0),
        ("degC", "K", "t", 1, 273.15), ("celsius", "K", "t2m", 1, 273.15), ("hPa", "Pa", "msl", 100, 0),
        ("millibars", "Pa", "msl", 100, 0),
        ("meters/second", "m s**-1", "u", 1, 0), ("m.s-1", "m s**-1", "u", 1, 0),
        ("knots", "m s**-1", "u", 0.514444, 0), ("kg m**-2", "m", "tp", 1e-3, 0), ("mm", "m", "tp", 1e-3, 0),
        ("g kg-1", "kg kg**-1", "q", 1e-3, 0), ("%", "1", "tcc", 0.01, 0), ("(0 - 1)", "1", "lsm", 1, 0),
        ("", "1", "lsm", 1, 0), ("kg/kg", "kg kg**-1", "q", 1, 0),
    ],
)  # fmt: skip
def test_units(units, to, name, scale, shift):
    pytest.importorskip("pint")
    assert conversion(units, to, name, "f") == pytest.approx((scale, shift), rel=1e-5)


@pytest.mark.parametrize(
    ("units", "name"), [("K", "z"), ("Pa", "t"), ("parsnips", "t"), ("m", "t2m"), ("m s-1", "tp")]
)
def test_units_of_another_kind(units, name):
    pytest.importorskip("pint")
    to = {"z": "m**2 s**-2", "t": "K", "t2m": "K", "tp": "m"}[name]
    with pytest.raises(DataError, match=f"{name} in .* cannot be had in"):
        conversion(units, to, name, "f")


def test_geopotential_and_height_by_their_values():
    assert height_of(500) == pytest.approx(5574, abs=2) and height_of(50) == pytest.approx(20576, abs=50)
    assert geopotential_or_height({500: 5600, 850: 1500}) == "height"
    assert geopotential_or_height({500: 54900, 50: 2e5}) == "geopotential"
    assert geopotential_or_height({1000: 90}) == "" and geopotential_or_height({500: 54900, 850: 1500}) == ""


def test_missing_values():
    short = np.array([-32767, 5, 0], "i2")
    packed = {"scale_factor": -0.5, "add_offset": 10.0, "missing_value": np.int16(-32767)}
    np.testing.assert_array_equal(masking.values_of(short, packed, "v"), [np.nan, 7.5, 10])
    # netCDF4 would mask -32767 where no attribute names it; xarray would mask 0 of Zarr 2.
    assert masking.values_of(short, {}, "v").tolist() == [-32767, 5, 0]
    assert masking.values_of(short, {"_FillValue": 0}, "v", zero_fill=True)[2] == 0
    single = np.array([1e20, 9.96921e36, 1, -9999], "f4")
    kept = masking.values_of(single, {"missing_value": 1e20, "_FillValue": -9999.0}, "v")
    np.testing.assert_array_equal(kept, [np.nan, np.nan, 1, np.nan])
    assert masking.values_of(np.array([-1], "i1"), {"_Unsigned": "true"}, "v").tolist() == [255]
    with pytest.raises(DataError, match="no numbers"):
        masking.values_of(np.array(["a"]), {}, "v")


@pytest.mark.parametrize(
    ("values", "units", "calendar", "first"),
    [
        ([755880], "hours since 1940-01-01 00:00 (proleptic_gregorian)", "", "2026-03-25T00"),
        ([17067072], "hours since 1-1-1 00:00:0.0", "gregorian", "1948-01-01T00"),
        ([0.5], "days since 1970-01-01", "standard", "1970-01-01T12"),
        ([13], "months since 1958-1-1 00:00:00", "", "1959-02-01T00"),
        ([2], "years since 2000-03-01", "", "2002-03-01T00"),
    ],
)
def test_times(values, units, calendar, first):
    pytest.importorskip("cftime")
    found = times.hours_of(np.array(values), units, calendar, "f")
    assert str(hours.at(np.asarray(found))[0]) == first


@pytest.mark.parametrize(
    ("values", "units", "calendar", "said"),
    [
        ([0.5], "months since 2000-01-01", "", "no fixed length"),
        ([1], "months since 2000-01-15", "", "no fixed length"),
        ([1], "days since 2000-01-01", "noleap", "--own_calendar"),
        ([1], "days since 0049-01-01", "standard", "--own_calendar"),
        ([0.51], "hours since 2000-01-01", "", "no whole hour"),
        ([np.nan], "hours since 2000-01-01", "", "a time is missing"),
        ([1], "fortnights since 2000-01-01", "", "not understood"),
        ([1], "hours since the flood", "", "not understood"),
        ([1], "", "", "units of nothing"),
    ],
)
def test_times_that_are_none_of_ours(values, units, calendar, said):
    pytest.importorskip("cftime")
    with pytest.raises(DataError, match=said):
        times.hours_of(np.array(values), units, calendar, "f")


def test_levels_without_units_are_told_by_the_largest():
    assert levels_of(np.array([500, 850]), {}, "f")[0].tolist() == [500, 850]
    assert levels_of(np.array([50000, 100000]), {}, "f")[0].tolist() == [500, 1000]
    assert levels_of(np.array([0.5, 1]), {"standard_name": "atmosphere_sigma_coordinate"}, "f")[1] == "1"
    assert "without units" in levels_of(np.array([1, 2, 3]), {}, "f")[2]
    assert "no pressures" in levels_of(np.array([10.0]), {"units": "m"}, "f")[2]


def test_wanted_variables_are_written_so():
    one = FieldChoices(("u@500=U500.cdf:u",)).wanted[0]
    assert tuple(one) == ("u", 500.0, "U500.cdf", "u")
    with pytest.raises(DataError, match="--variables u@high=u: write"):
        _ = FieldChoices(("u@high=u",)).wanted


def message(short="t", level=500, value=250.0, edition=2, **keys):
    eccodes = pytest.importorskip("eccodes")
    opened = eccodes.codes_grib_new_from_samples(f"regular_ll_pl_grib{edition}")
    for name, to in (
        {"shortName": short} | keys | {"level": level, "dataDate": 20200101, "dataTime": 600}
    ).items():
        eccodes.codes_set(opened, name, to)
    count = eccodes.codes_get_size(opened, "values")
    eccodes.codes_set_values(opened, value + np.linspace(0, 1, count))
    found = eccodes.codes_get_message(opened)
    eccodes.codes_release(opened)
    return found


def test_a_message_that_stands_twice_or_is_cut_short(tmp_path):
    whole = message() + b"\r\n header of a bulletin \r\n" + message(level=850, edition=1)
    (tmp_path / "two.grib").write_bytes(whole)
    found, t = read(str(tmp_path / "two.grib"), variable="t")
    assert found.grid.level_L.tolist() == [850, 500] and t.shape[:2] == (1, 2)
    (tmp_path / "twice.grib").write_bytes(message() + message(value=260.0))
    with pytest.raises(DataError, match=r"t at 500 hPa at 2020-01-01T06 stands twice, at bytes 0 and"):
        planned(str(tmp_path / "twice.grib"))
    for cut in (1, 30, 60):
        (tmp_path / "cut.grib").write_bytes(whole[:-cut])
        with pytest.raises(DataError, match=r"message 2 .*cut short or damaged; whole ones before it: 1"):
            planned(str(tmp_path / "cut.grib"))


def test_several_fields_in_one_message(tmp_path):
    """ecCodes gives the first alone unless it is told otherwise."""
    one, two = message("u", value=5.0), message("v", value=-7.0)
    at = 16
    while two[at + 4] != 4:
        at += int.from_bytes(two[at : at + 4], "big")
    body = one[:-4] + two[at:]
    (tmp_path / "both.grib2").write_bytes(body[:8] + len(body).to_bytes(8, "big") + body[16:])
    assert len(list(grib_messages.places(tmp_path / "both.grib2"))) == 2
    found, v = read(str(tmp_path / "both.grib2"), variable="v")
    assert found.names.upper == ("u", "v")
    assert v.min() == pytest.approx(-7, abs=1e-3)


def test_one_short_name_of_two_parameters_by_its_units(tmp_path):
    """ecCodes calls both 34 (K) and 151159 (degrees Celsius) sst."""
    (tmp_path / "k.grib").write_bytes(_sst(34, 290.0))
    (tmp_path / "c.grib").write_bytes(_sst(151159, 16.85))
    k, c = (read(str(tmp_path / f"{name}.grib"), variable="sst")[1] for name in "kc")
    np.testing.assert_allclose(k, c, atol=1e-2)


def _sst(parameter, value):
    eccodes = pytest.importorskip("eccodes")
    opened = eccodes.codes_grib_new_from_samples("regular_ll_sfc_grib2")
    eccodes.codes_set(opened, "paramId", parameter)
    eccodes.codes_set(opened, "dataDate", 20200101)
    count = eccodes.codes_get_size(opened, "values")
    eccodes.codes_set_values(opened, np.full(count, value))
    found = eccodes.codes_get_message(opened)
    eccodes.codes_release(opened)
    return found


def test_rows_to_and_fro_are_turned(tmp_path):
    opened = message(alternativeRowScanning=1)
    (tmp_path / "rows.grib").write_bytes(opened)
    place = next(grib_messages.places(tmp_path / "rows.grib"))
    with handle(tmp_path / "rows.grib", place) as one:
        columns = key(one, "Ni", int)
        rows = grib_messages.values(one).reshape(-1, columns)
    assert (np.diff(rows[0]) >= 0).all() and (np.diff(rows[1]) <= 0).all()
