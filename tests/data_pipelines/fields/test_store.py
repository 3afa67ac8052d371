"""Stores of fields: what is written is read, by xarray too, and what is lost or damaged is named."""

import dataclasses
import shutil
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from data_pipelines.errors import DataError
from data_pipelines.fields import writing
from data_pipelines.fields.field_set import fields
from data_pipelines.fields.store import FieldStore
from data_pipelines.fields.variables import FieldNames
from data_pipelines.fields.writing import write_store
from tests.data_pipelines.fields.small_store import GRID, HOURS, NAMES, state

pytest.importorskip("zarr")


def contents(path):
    return {str(file.relative_to(path)): file.read_bytes() for file in path.rglob("*") if file.is_file()}


def test_a_store_is_what_was_written_and_xarray_reads_it(path):
    xarray = pytest.importorskip("xarray")
    store = FieldStore.open(path)
    assert (store.grid, store.names, store.step_hours, store.missing) == (GRID, NAMES, 6, {})
    np.testing.assert_array_equal(store.read(7)[0], state(7)[0])
    upper = np.stack([state(place)[0] for place in range(40)]).astype(np.float64)
    np.testing.assert_allclose(store.statistics.upper_std_LxU, upper.std((0, 2, 3)), rtol=1e-12)
    np.testing.assert_allclose(store.statistics.upper_mean_LxU, upper.mean((0, 2, 3)), rtol=1e-12)
    seen = xarray.open_zarr(path, chunks=None)
    assert seen.time.values[21] == np.datetime64("2020-01-06T12")
    assert seen.v.dims == ("time", "level", "latitude", "longitude")
    np.testing.assert_array_equal(seen.v.values[21], store.read(21)[0][..., 1])
    assert seen.u.attrs["standard_name"] == "eastward_wind"


def test_states_that_are_read_are_nobodys_to_change(path):
    store = FieldStore.open(path)
    with pytest.raises(ValueError, match="read-only"):
        store.read(3)[0][...] = 0
    upper, _ = store.read_window([3])
    upper[...] = 0
    np.testing.assert_array_equal(store.read(3)[0], state(3)[0])


def test_what_was_begun_is_gone_on_with_to_the_same_bytes(path, tmp_path):
    asked, again = [], tmp_path / "again.zarr"

    def dies(place):
        asked.append(place)
        if place == 11:
            raise KeyboardInterrupt
        return state(place)

    with pytest.raises(KeyboardInterrupt):
        write_store(again, GRID, NAMES, HOURS, dies)
    assert not again.exists()
    building = tmp_path / "again.zarr.building"
    # What kills of the process at other times leave: a half-written chunk, and a folder with nothing in it.
    (building / "msl" / "c" / "5" / "0" / "0").rename(building / "msl" / "c" / "5" / "0" / "0.1f.partial")
    (building / "v" / "c" / "11").mkdir()
    write_store(again, GRID, NAMES, HOURS, lambda place: (asked.append(place), state(place))[1])
    assert asked == [*range(12), 5, *range(11, 40)]
    assert contents(again) == contents(path)


def test_workers_count_the_same_statistics(path, tmp_path):
    building = writing.begin(tmp_path / "wide.zarr", GRID, NAMES, HOURS)
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda place: writing.put(building, NAMES, place, state(place)), range(39, -1, -1)))
        writing.finish(tmp_path / "wide.zarr", pool.map)
    assert contents(tmp_path / "wide.zarr") == contents(path)


@pytest.mark.parametrize(
    "other",
    [{"times_N": HOURS[:-1]}, {"grid": dataclasses.replace(GRID, level_L=[850, 300])}, {"source": "b"}],
)
def test_another_set_is_not_gone_on_with(tmp_path, other):
    asked = {"grid": GRID, "names": NAMES, "times_N": HOURS, "source": "a"}
    writing.begin(tmp_path / "a.zarr", **asked)
    with pytest.raises(DataError, match="another set"):
        write_store(tmp_path / "a.zarr", state=state, **asked | other)


def test_a_state_that_is_not_there_is_named(path, tmp_path):
    broken = tmp_path / "broken.zarr"
    shutil.copytree(path, broken)
    (broken / "v" / "c" / "5" / "0" / "0" / "0").unlink()  # its folder is left: seen when it is read
    with pytest.raises(DataError, match=r"v/c/5/0/0/0 is missing: remove"):
        FieldStore.open(broken).read(5)
    shutil.rmtree(broken / "msl" / "c" / "3")
    with pytest.raises(DataError, match=r"1 of 40 states of msl are missing, the first at 2020-01-01T18"):
        FieldStore.open(broken)


@pytest.mark.parametrize("damage", ["turned bit", "cut", "empty"])
def test_a_chunk_that_is_damaged_is_named(path, tmp_path, damage):
    broken = tmp_path / "broken.zarr"
    shutil.copytree(path, broken)
    chunk = broken / "u" / "c" / "2" / "0" / "0" / "0"
    whole = chunk.read_bytes()
    turned = whole[:60] + bytes([whole[60] ^ 4]) + whole[61:]
    chunk.write_bytes({"turned bit": turned, "cut": whole[:-9], "empty": b""}[damage])
    with pytest.raises(DataError, match=r"u/c/2/0/0/0 is damaged"):
        FieldStore.open(broken).read(2)


def test_a_store_knows_its_statistics_and_other_fields_have_another_id(path, tmp_path):
    other = tmp_path / "other.zarr"
    found = write_store(other, GRID, NAMES, HOURS[:3], state)
    warmer = write_store(
        tmp_path / "b.zarr", GRID, NAMES, HOURS[:3], lambda at: (state(at)[0] + 1, state(at)[1])
    )
    assert found.id != warmer.id and FieldStore.open(other).id == found.id
    import zarr

    theirs = zarr.open_group(path, use_consolidated=False).attrs["pangu_statistics"]
    zarr.open_group(other, use_consolidated=False).attrs["pangu_statistics"] = theirs
    with pytest.raises(DataError, match="are of another set of fields"):
        FieldStore.open(other)


def test_what_is_no_store_is_said_so(tmp_path):
    with pytest.raises(DataError, match="is no store of fields"):
        FieldStore.open(tmp_path / "nothing.zarr")
    building = writing.begin(tmp_path / "half.zarr", GRID, NAMES, HOURS)
    with pytest.raises(DataError, match="no finished store of fields"):
        FieldStore.open(building)
    with pytest.raises(DataError, match="40 of 40 states of u are missing"):
        writing.finish(tmp_path / "half.zarr")


def test_cells_without_a_value_are_counted_and_told(tmp_path):
    def masked(place):
        upper, surface = state(place)
        upper[0, :2, :, 1] = np.nan
        surface[0, :3] = np.nan
        return upper, surface

    store = write_store(tmp_path / "a.zarr", GRID, NAMES, HOURS[:5], masked)
    assert store.missing == {"v": 0.25, "msl": 0.125}
    there = np.stack([state(place)[0][0, 2:, :, 1] for place in range(5)]).astype(float)
    np.testing.assert_allclose(store.statistics.upper_std_LxU[0, 1], there.std(), rtol=1e-12)
    found = fields(str(tmp_path / "a.zarr"), lead_hours=6, validation=0.5, gap_hours=0)
    assert "do not count: v 25.00%, msl 12.50%" in found.notices()[0]
    assert np.isnan(found.train_source(1, 0).batch(0)["surface"][0, 0, 0, :3, 0]).all()
    upper, surface = found.mean_state
    assert np.isnan(surface[0, :3]).all() and np.isfinite(surface[1:]).all() and upper.dtype == np.float64


@pytest.mark.parametrize(
    ("value", "said"),
    [(np.nan, "v at 500 has no value in any state"), (np.inf, "v at place 0 has an infinite")],
)
def test_values_that_are_no_field_are_refused(tmp_path, value, said):
    def wrong(place):
        upper, surface = state(place)
        upper[1, ..., 1] = value
        return upper, surface

    with pytest.raises(DataError, match=said):
        write_store(tmp_path / "a.zarr", GRID, NAMES, HOURS[:2], wrong)
    assert not (tmp_path / "a.zarr").exists()


def test_a_state_of_another_shape_is_refused(tmp_path):
    building = writing.begin(tmp_path / "a.zarr", GRID, NAMES, HOURS)
    with pytest.raises(DataError, match=r"u at place 1 has the shape \(2, 4, 5\), the store \(2, 4, 6\)"):
        writing.put(building, NAMES, 1, (state(1)[0][:, :, 1:], state(1)[1]))


def test_a_surface_without_upper_air_and_its_constants(tmp_path):
    constants = np.random.default_rng(0).random((4, 6, 2)).astype("f")
    grid, names = dataclasses.replace(GRID, level_L=[]), FieldNames((), ("msl",), ("lsm", "z_surface"))
    write_store(
        tmp_path / "a.zarr",
        grid,
        names,
        HOURS[:4],
        lambda at: (np.zeros((0, 4, 6, 0)), state(at)[1]),
        constants,
    )
    store = FieldStore.open(tmp_path / "a.zarr")
    np.testing.assert_array_equal(store.constants_HxWxK, constants)
    assert store.read(1)[0].shape == (0, 4, 6, 0) and store.statistics.surface_mean_S.shape == (1,)


def test_a_choice_of_variables_and_levels(path):
    store = FieldStore.open(path, upper=("v",), levels=(500,))
    np.testing.assert_array_equal(store.read(2)[0], state(2)[0][1:, ..., 1:])
    whole = FieldStore.open(path).statistics
    np.testing.assert_array_equal(store.statistics.upper_std_LxU, whole.upper_std_LxU[1:, 1:])
    turned = FieldStore.open(path, upper=("v", "u"), levels=(500, 850), surface=())
    np.testing.assert_array_equal(turned.read(2)[0], state(2)[0][::-1, ..., ::-1])
    np.testing.assert_array_equal(turned.statistics.upper_mean_LxU, whole.upper_mean_LxU[::-1, ::-1])
    for asked, said in (
        ({"levels": (300,)}, "level 300 is not there"),
        ({"levels": (500, 500)}, "each can be taken once"),
        ({"upper": ("q",)}, "no q; it has u, v"),
        ({"upper": ("u", "u")}, "stands twice"),
    ):
        with pytest.raises(DataError, match=said):
            FieldStore.open(path, **asked)


def test_upper_air_needs_levels(tmp_path):
    with pytest.raises(DataError, match="u, v lie on levels, and the grid has none"):
        writing.begin(tmp_path / "a.zarr", dataclasses.replace(GRID, level_L=[]), NAMES, HOURS)


def test_a_state_that_is_all_missing_is_written(tmp_path):
    """An array that is opened again would leave it out, and it would count as lost."""

    def third_missing(place):
        upper, surface = state(place)
        return (
            (np.full_like(upper, np.nan), np.full_like(surface, np.nan)) if place == 3 else (upper, surface)
        )

    store = write_store(tmp_path / "holes.zarr", GRID, NAMES, HOURS[:6], third_missing)
    assert np.isnan(store.read(3)[0]).all() and np.isfinite(store.read(2)[0]).all()
    assert store.missing == pytest.approx(dict.fromkeys(store.missing, 1 / 6))
