"""Stores of fields and the windows that are drawn from them."""

import dataclasses
import shutil

import numpy as np
import pytest

from data_pipelines.errors import DataError
from data_pipelines.fields import writing
from data_pipelines.fields.field_set import fields
from data_pipelines.fields.grid import Grid
from data_pipelines.fields.statistics import moments
from data_pipelines.fields.store import FieldStore
from data_pipelines.fields.variables import FieldNames
from data_pipelines.fields.writing import write_store

pytest.importorskip("zarr")

GRID = Grid(np.array([60.0, 20.0, -20.0, -60.0]), np.arange(6) * 60.0, [850.0, 500.0])
NAMES = FieldNames(("u", "v"), ("msl",))
HOURS = np.datetime64("2020-01-01T00", "h") + 6 * np.delete(np.arange(41), 20)  # one is missing


def state(place: int):
    rng = np.random.default_rng(place)
    return rng.normal(100, 5, (2, 4, 6, 2)).astype("f"), rng.normal(1e5, 300, (4, 6, 1)).astype("f")


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    path = tmp_path_factory.mktemp("fields") / "some.zarr"
    write_store(path, GRID, NAMES, HOURS, state)
    return path


def contents(path):
    return {str(file.relative_to(path)): file.read_bytes() for file in path.rglob("*") if file.is_file()}


def test_a_store_is_what_was_written_and_xarray_reads_it(path):
    xarray = pytest.importorskip("xarray")
    store = FieldStore.open(path)
    assert (store.grid, store.names, store.step_hours) == (GRID, NAMES, 6)
    np.testing.assert_array_equal(store.read(7)[0], state(7)[0])
    upper = np.stack([state(place)[0] for place in range(40)]).astype(np.float64)
    np.testing.assert_allclose(store.statistics.upper_std_LxU, upper.std((0, 2, 3)), rtol=1e-12)
    np.testing.assert_allclose(store.statistics.upper_mean_LxU, upper.mean((0, 2, 3)), rtol=1e-12)
    seen = xarray.open_zarr(path, chunks=None)
    assert seen.time.values[21] == np.datetime64("2020-01-06T12")
    np.testing.assert_array_equal(seen.v.values[21], store.read(21)[0][..., 1])
    assert seen.u.attrs["standard_name"] == "eastward_wind"


def test_what_was_begun_is_gone_on_with_to_the_same_bytes(path, tmp_path):
    asked = []

    def dies(place):
        asked.append(place)
        if place == 11:
            raise KeyboardInterrupt
        return state(place)

    with pytest.raises(KeyboardInterrupt):
        write_store(tmp_path / "again.zarr", GRID, NAMES, HOURS, dies)
    assert not (tmp_path / "again.zarr").exists()
    write_store(
        tmp_path / "again.zarr", GRID, NAMES, HOURS, lambda place: (asked.append(place), state(place))[1]
    )
    assert asked == [*range(12), *range(11, 40)]
    assert contents(tmp_path / "again.zarr") == contents(path)


def test_another_set_is_not_gone_on_with(tmp_path):
    writing.begin(tmp_path / "a.zarr", GRID, NAMES, HOURS)
    with pytest.raises(DataError, match="another set"):
        write_store(tmp_path / "a.zarr", GRID, NAMES, HOURS[:-1], state)


def test_a_lost_chunk_is_named(path, tmp_path):
    shutil.copytree(path, tmp_path / "broken.zarr")
    shutil.rmtree(tmp_path / "broken.zarr" / "msl" / "c" / "3")
    with pytest.raises(DataError, match=r"1 of 40 states of msl are missing, the first at 2020-01-01T18"):
        FieldStore.open(tmp_path / "broken.zarr")


def test_windows_leave_gaps_out_and_sides_keep_apart(path):
    data = fields(str(path), lead_hours=12, steps=2, gap_hours=24, validation=0.25)
    assert "windows are left out" in data.notices()[0]
    hours = data.store.hours_N
    for side in data.sides:
        assert np.isin(hours[side] + 12, hours).all() and np.isin(hours[side] + 24, hours).all()
    learnt, held_out = data.sides
    assert hours[learnt].max() + 24 + 24 < hours[held_out].min()
    with pytest.raises(DataError, match="7 h later"):
        _ = fields(str(path), lead_hours=7).starts_N


def test_a_batch_is_a_function_of_its_step(path, tmp_path):
    data = fields(str(path), lead_hours=6, gap_hours=6, symmetries=True, cache_dir=str(tmp_path))
    source = data.train_source(4, seed=1)
    batch = source.batch(5)
    rows = data.train_source(4, seed=1).batch(5, slice(2, 4))
    for name, array in batch.items():
        np.testing.assert_array_equal(array[2:], rows[name])
    assert batch["upper"].shape == (4, 2, 2, 4, 6, 2) and batch["surface"].shape == (4, 2, 4, 6, 1)
    later = data.store.hours_N[batch["place"]]
    np.testing.assert_array_equal(later, batch["time"])
    assert len({(*one.ravel()[:3],) for one in batch["upper"]}) == 4


def test_symmetries_turn_and_mirror(path):
    data = fields(str(path), lead_hours=6, gap_hours=6, symmetries=True)
    task = data._task(data.sides[0], True)
    plain = data._task(data.sides[0], False).window(3, np.random.default_rng(0))
    seen = set()
    for seed in range(12):
        moved = task.window(3, np.random.default_rng(seed))
        turned = [np.roll(moved["upper"], -by, -2) for by in range(6)]
        mirror = [one[..., ::-1, :, :] * np.array([1, -1], "f") for one in turned]
        matches = [any((one == plain["upper"]).all() for one in way) for way in (turned, mirror)]
        assert sum(matches) == 1
        seen.add(matches[0])
    assert seen == {True, False}


def test_a_choice_of_variables_and_levels(path):
    store = FieldStore.open(path, upper=("v",), levels=(500,))
    np.testing.assert_array_equal(store.read(2)[0], state(2)[0][1:, ..., 1:])
    assert store.statistics.upper_std_LxU.shape == (1, 1)
    with pytest.raises(DataError, match="level 300 is not there"):
        FieldStore.open(path, levels=(300,))
    with pytest.raises(DataError, match="no q; it has u, v"):
        FieldStore.open(path, upper=("q",))


def test_increments_are_of_the_lead(path, tmp_path):
    data = fields(str(path), lead_hours=12, gap_hours=6, cache_dir=str(tmp_path))
    learnt = data.sides[0]
    changes = [state(place + 2)[0].astype(float) - state(place)[0] for place in learnt if place + 2 < 20]
    other = fields(str(path), lead_hours=12, gap_hours=6, cache_dir=str(tmp_path)).increments
    np.testing.assert_allclose(other.upper_std_LxU, data.increments.upper_std_LxU)
    np.testing.assert_allclose(data.increments.upper_std_LxU, np.std(changes, (0, 2, 3)), rtol=0.1)


def test_statistics_leave_missing_cells_out():
    upper, surface = state(0)
    upper[0, :2] = np.nan
    found = moments(lambda place: [*upper[..., 0]], [0])
    np.testing.assert_allclose(found.mean_F[0], upper[0, 2:, :, 0].astype(float).mean(), rtol=1e-12)


def test_weights_of_latitudes_are_areas():
    grid = Grid(np.linspace(90, -90, 61), np.arange(120) * 3.0, [500.0])
    bounds = np.deg2rad(np.clip(np.linspace(91.5, -91.5, 62), -90, 90))
    areas = np.sin(bounds[:-1]) - np.sin(bounds[1:])
    np.testing.assert_allclose(grid.weights_H, areas / areas.mean(), rtol=1e-12)
    assert dataclasses.replace(grid, level_L=np.array([850.0])) != grid
    assert Grid.from_json(grid.to_json()) == grid
