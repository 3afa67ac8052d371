"""Files to a store: the same bytes however often it is stopped, whatever format they are in."""

import json
import shutil
import warnings

import numpy as np
import pytest

from data_pipelines.errors import DataError
from data_pipelines.fields.reading import build as building
from data_pipelines.fields.reading import plan as planning
from data_pipelines.fields.reading.build import build
from data_pipelines.fields.reading.choices import FieldChoices
from data_pipelines.fields.reading.inspecting import inspect, is_store
from data_pipelines.fields.store import FieldStore
from pangu_jax import cli

xarray = pytest.importorskip("xarray")
pytest.importorskip("netCDF4")
pytest.importorskip("pint")
TIMES = np.datetime64("2020-01-01", "ns") + np.arange(10) * np.timedelta64(6, "h")


def made(times=TIMES, seed=0):
    """Upside down, from the west, levels upwards in Pa: u, v, 2m temperature in degC, and a mask."""
    rng = np.random.default_rng(seed)
    shape = (len(times), 2, 5, 8)
    axes = ("time", "plev", "lat", "lon")
    wind = {"units": "m s-1"}
    return xarray.Dataset(
        {
            "ua": (axes, rng.normal(0, 9, shape).astype("f"), {**wind, "standard_name": "eastward_wind"}),
            "va": (axes, rng.normal(0, 9, shape).astype("f"), wind),
            "tas": (("time", "lat", "lon"), rng.normal(9, 3, (len(times), 5, 8)), {"units": "degC"}),
            "lsm": (("lat", "lon"), (rng.random((5, 8)) > 0.5).astype("f")),
        },
        {
            "time": times,
            "plev": ("plev", [50000.0, 85000.0], {"units": "Pa", "axis": "Z"}),
            "lat": ("lat", np.linspace(-60, 60, 5), {"units": "degrees_north"}),
            "lon": ("lon", np.arange(-180.0, 180, 45), {"units": "degrees_east"}),
        },
    )


def contents(path):
    return {str(one.relative_to(path)): one.read_bytes() for one in path.rglob("*") if one.is_file()}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Two files of NetCDF, the later one first."""
    folder = tmp_path_factory.mktemp("files")
    whole = made()
    whole.isel(time=slice(4, 10)).to_netcdf(folder / "a.nc")
    whole.isel(time=slice(0, 4)).to_netcdf(folder / "b.nc")
    return folder


@pytest.fixture(scope="module")
def store(files):
    return build([str(files / "*.nc")], files / "store", workers=1)


def test_it_is_what_the_files_say(store):
    whole = made()
    assert store.names.every == ("u", "v", "t2m", "lsm") and store.grid.level_L.tolist() == [850, 500]
    assert store.grid.latitude_H.tolist() == [60, 30, 0, -30, -60] and store.grid.periodic
    theirs = whole.assign_coords(lon=whole.lon % 360).sortby("lon").sortby("lat", ascending=False)
    upper, surface = store.read(7)
    np.testing.assert_array_equal(upper[..., 1], theirs.va.values[7, ::-1])
    np.testing.assert_allclose(surface[..., 0], theirs.tas.values[7] + 273.15, rtol=1e-6)
    np.testing.assert_array_equal(store.constants_HxWxK[..., 0], theirs.lsm.values)
    np.testing.assert_array_equal(store.times_N, TIMES.astype("M8[h]"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        seen = xarray.open_zarr(store.path, chunks=None)
    assert seen.v.attrs["units"] == "m s**-1"
    card = (store.path / building.CARD).read_text()
    assert "degC to K" in card and "| u | 850 | m s**-1 |" in card and "a.nc: u, v, t2m, lsm" in card


def test_killed_and_gone_on_with_the_bytes_are_the_same(files, store, tmp_path, monkeypatch):
    monkeypatch.setattr(planning, "BLOCK_BYTES", 4 * 2 * 5 * 8 * 3)
    calls = []

    def dies(*arguments, out):
        calls.append(arguments[2:])
        if len(calls) == 3:
            raise KeyboardInterrupt
        return write(*arguments, out=out)

    write = building.write_block
    monkeypatch.setattr(building, "write_block", dies)
    output = tmp_path / "store"
    with pytest.raises(KeyboardInterrupt):
        build([str(files / "*.nc")], output, workers=1)
    assert not output.exists()
    done = calls[:2]
    build([str(files / "*.nc")], output, workers=1)
    assert not set(done) & set(calls[3:]) and len(calls) == 5
    assert contents(output) == contents(store.path)
    assert sorted(one.name for one in tmp_path.iterdir()) == ["store"]
    with pytest.raises(DataError, match="is there already"):
        build([str(files / "*.nc")], output, workers=1)


def test_files_that_changed_meanwhile_are_read_again(files, tmp_path, monkeypatch):
    shutil.copytree(files, tmp_path / "in", ignore=shutil.ignore_patterns("store"))
    with monkeypatch.context() as broken:
        broken.setattr(building.writing, "finish", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            build([str(tmp_path / "in")], tmp_path / "out", workers=1)
    other = made(seed=1)
    other.isel(time=slice(0, 4)).to_netcdf(tmp_path / "in/b.nc")
    found = build([str(tmp_path / "in")], tmp_path / "out", workers=1)
    np.testing.assert_array_equal(found.read(0)[0][1, :, 4:, 0], other.ua.values[0, 0, ::-1, :4])


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_zarr_gives_the_same_states(zarr_format, store, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made().to_zarr(tmp_path / "in.zarr", zarr_format=zarr_format)
    found = build([str(tmp_path / "in.zarr")], tmp_path / "out", workers=1)
    assert found.grid == store.grid
    for place in (0, 9):
        for mine, theirs in zip(found.read(place), store.read(place), strict=True):
            np.testing.assert_array_equal(mine, theirs)


def test_a_missing_chunk_is_refused_and_zeros_of_zarr_2_are_values(tmp_path):
    import zarr

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made().to_zarr(tmp_path / "in.zarr", zarr_format=2, encoding={"ua": {"chunks": (1, 2, 5, 8)}})
        group = zarr.open_group(tmp_path / "in.zarr")
        counts = group.create_array("counts", shape=(10, 5, 8), dtype="i4", fill_value=0, chunks=(10, 5, 8),
                                    attributes={"_ARRAY_DIMENSIONS": ["time", "lat", "lon"]},
                                    config={"write_empty_chunks": True})  # fmt: skip
        counts[:] = np.arange(400).reshape(10, 5, 8) % 3
    found = build([str(tmp_path / "in.zarr")], tmp_path / "out", FieldChoices(("counts", "ua=ua")), workers=1)
    assert found.names.surface == ("counts",)
    assert np.isfinite(found.read(0)[1]).all() and (found.read(0)[1] == 0).any()
    (tmp_path / "in.zarr/ua/3.0.0.0").unlink()
    with pytest.raises(DataError, match=r"1 of 10 chunks of ua are missing"):
        build([str(tmp_path / "in.zarr")], tmp_path / "out2", FieldChoices(("counts", "ua=ua")), workers=1)


def test_what_is_refused_leaves_nothing(files, tmp_path):
    with pytest.raises(DataError):
        build([str(files / "a.nc")], tmp_path / "none.zarr", FieldChoices(("q",)), workers=1)
    assert not list(tmp_path.iterdir())


def test_times_that_some_variables_lack(tmp_path):
    whole = made()
    whole[["ua", "va"]].to_netcdf(tmp_path / "a.nc")
    whole[["tas"]].isel(time=[0, 1, 2, 5]).to_netcdf(tmp_path / "b.nc")
    with pytest.raises(
        DataError, match=r"t2m is lacking at 6 of 10 times, the first 2020-01-01T18: .*--common_times"
    ):
        build([str(tmp_path / "*.nc")], tmp_path / "out", workers=1)
    found = build([str(tmp_path / "*.nc")], tmp_path / "out", FieldChoices(common_times=True), workers=1)
    assert len(found) == 4 and "irregular: 2 of 6 h, 1 of 18 h" in (tmp_path / "out/card.md").read_text()
    whole[["tas"]].isel(time=[5, 6]).to_netcdf(tmp_path / "c.nc")
    with pytest.raises(DataError, match=r"t2m at 2020-01-02T06 stands in .*b.nc and in .*c.nc"):
        build([str(tmp_path / "*.nc")], tmp_path / "out2", workers=1)


def test_the_verbs(files, store, tmp_path, capsys):
    given = [
        "fields",
        "build",
        "--input",
        str(files / "a.nc"),
        "--output",
        str(tmp_path / "s"),
        "--workers",
        "1",
    ]
    assert cli.main([*given, "--levels", "500", "--variables", "u", "t2m", "--json", "-"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["times"], found["grid"]["level"]) == (6, [500.0])
    assert is_store(tmp_path / "s") and not is_store(files)
    assert FieldStore.open(tmp_path / "s").names.every == ("u", "t2m")
    assert cli.main(["fields", "inspect", str(tmp_path / "s")]) == 0
    assert "| t2m |  | K |" in capsys.readouterr().out
    rows = {row["source"]: row for row in inspect(files / "a.nc", FieldChoices())}
    assert (rows["ua"]["becomes"], rows["lsm"]["about"]) == ("u", "constant, 5 x 8 around the globe")
    given[-3] = str(tmp_path / "s2")
    assert cli.main([*given, "--variables", "w"]) == 2
    said = capsys.readouterr().err.strip().splitlines()
    assert "no file has w" in said[-1]
