"""Windows that are drawn from a store."""

import numpy as np
import pytest

from data_pipelines.errors import DataError
from data_pipelines.fields.field_set import fields
from data_pipelines.fields.variables import FieldNames
from data_pipelines.fields.writing import write_store
from tests.data_pipelines.fields.small_store import GRID, HOURS, NAMES, state

pytest.importorskip("zarr")


def test_gaps_are_told_and_leads_that_are_not_there_refused(path):
    data = fields(str(path), lead_hours=12, steps=2, gap_hours=24, validation=0.25)
    assert "2 of 36 windows are left out" in data.notices()[0]
    learnt, held_out = (data.store.times_N[side] for side in data.sides)
    assert learnt.max() + np.timedelta64(48, "h") < held_out.min()
    with pytest.raises(DataError, match="no state has one 7 h later"):
        _ = fields(str(path), lead_hours=7).starts_N
    with pytest.raises(
        DataError, match=r"from 2020-01-01T00 to 2020-01-11T00 no window of 24 h is to train on"
    ):
        _ = fields(str(path)).sides


def test_days_can_be_held_out(path):
    data = fields(str(path), lead_hours=6, validation="2020-01-05/2020-01-05", gap_hours=12)
    learnt, held_out = (data.store.times_N[side] for side in data.sides)
    assert held_out.tolist() == [np.datetime64(f"2020-01-05T{hour:02}", "h").item() for hour in (0, 6, 12)]
    assert learnt.max() == np.datetime64("2020-01-04T00", "h")
    assert data.order()["held out"] == "2020-01-05/2020-01-05 after 12 h"


def test_a_batch_is_a_function_of_its_step(path, tmp_path):
    data = fields(str(path), lead_hours=6, gap_hours=6, symmetries=True, cache_dir=str(tmp_path))
    source = data.train_source(4, seed=1)
    source.batch(4)
    batch = source.batch(5)
    rows = data.train_source(4, seed=1).batch(5, slice(2, 4))
    same = data.train_source(8, seed=1, shift=4).batch(2)
    for name, array in batch.items():
        np.testing.assert_array_equal(array[2:], rows[name])
        np.testing.assert_array_equal(array, same[name][:4])
    assert batch["upper"].shape == (4, 2, 2, 4, 6, 2) and batch["surface"].shape == (4, 2, 4, 6, 1)
    np.testing.assert_array_equal(data.store.hours_N[batch["place"]], batch["time"])
    assert len({(*one.ravel()[:3],) for one in batch["upper"]}) == 4
    assert source.identity(5)[0].startswith("fields: 2020-01-")


def test_what_is_held_out_is_read_once_as_it_is(path):
    data = fields(str(path), lead_hours=6, steps=2, gap_hours=6, validation=0.3, symmetries=True)
    source = data.validation_sources(4)["fields"]
    batches = [source.batch(step) for step in range(len(source))]
    weight, place = (np.concatenate([batch[name] for batch in batches]) for name in ("weight", "place"))
    assert place[weight > 0].tolist() == data.sides[1].tolist() and (place[weight == 0] == -1).all()
    first = data.sides[1][0]
    for step in range(3):
        np.testing.assert_array_equal(batches[0]["upper"][0, step], state(first + step)[0])
    few = fields(str(path), lead_hours=6, gap_hours=6, validation=0.3, validation_windows=3)
    chosen = few.validation_sources(4)["fields"].batch(0)["place"]
    held_out = few.sides[1]
    assert chosen[:3].tolist() == [held_out[0], held_out[(len(held_out) - 1) // 2], held_out[-1]]


def test_symmetries_turn_and_mirror(path):
    data = fields(str(path), lead_hours=6, gap_hours=6, symmetries=True)
    assert "the Earth has land and seasons" in data.notices()[-1]
    task = data._task(data.sides[0], True)
    plain = data._task(data.sides[0], False).window(3, np.random.default_rng(0))
    seen = set()
    for seed in range(12):
        moved = task.window(3, np.random.default_rng(seed))
        turned = [(np.roll(moved["upper"], -by, -2), np.roll(moved["surface"], -by, -2)) for by in range(6)]
        mirror = [(a[..., ::-1, :, :] * np.array([1, -1], "f"), b[..., ::-1, :, :]) for a, b in turned]
        matches = [
            any((a == plain["upper"]).all() and (b == plain["surface"]).all() for a, b in way)
            for way in (turned, mirror)
        ]
        assert sum(matches) == 1
        seen.add(matches[0])
    assert seen == {True, False}


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (FieldNames(("u", "v"), ("msl",), ("lsm",)), "do not turn with it .lsm"),
        (FieldNames(("u", "swirl"), ("msl",)), "whether swirl changes its sign"),
    ],
)
def test_symmetries_that_are_none_are_refused(tmp_path, names, said):
    constants = np.zeros((4, 6, len(names.constants)), "f")
    write_store(tmp_path / "a.zarr", GRID, names, HOURS[:2], state, constants)
    with pytest.raises(DataError, match=said):
        _ = fields(str(tmp_path / "a.zarr"), symmetries=True).store


def test_increments_are_of_the_lead_and_counted_once(path, tmp_path):
    data = fields(str(path), lead_hours=12, gap_hours=6, cache_dir=str(tmp_path))
    later = data.store.place_of
    pairs = [(place, later[int(data.store.hours_N[place]) + 12]) for place in data.sides[0].tolist()]
    changes = np.stack([state(b)[0] - state(a)[0] for a, b in pairs]).astype(float)
    np.testing.assert_allclose(data.increments.upper_std_LxU, changes.std((0, 2, 3)), rtol=1e-12)
    again = fields(str(path), lead_hours=12, gap_hours=6, upper=("v",), cache_dir=str(tmp_path))
    np.testing.assert_array_equal(again.increments.upper_std_LxU, data.increments.upper_std_LxU[:, 1:])
    kept = fields(str(path), lead_hours=12, gap_hours=6, cache_dir=str(tmp_path))
    kept.store.changes = None  # what is kept needs no reading
    np.testing.assert_array_equal(kept.increments.surface_std_S, data.increments.surface_std_S)


def test_the_mean_state_is_of_what_is_learnt_from(path):
    data = fields(str(path), lead_hours=6, gap_hours=6)
    last = data.sides[0][-1]
    states = np.stack([state(place)[1] for place in range(last + 1)]).astype(float)
    np.testing.assert_allclose(data.mean_state[1], states.mean(0), rtol=1e-12)


@pytest.mark.parametrize(
    ("asked", "said"), [({"path": ""}, "path is not set"), ({"lead_hours": 0}, "at least 1")]
)
def test_a_recipe_that_cannot_be_is_refused(path, asked, said):
    with pytest.raises(DataError, match=said):
        fields(**{"path": str(path)} | asked)


def test_order_tells_fields_apart(path, tmp_path):
    other = write_store(tmp_path / "b.zarr", GRID, NAMES, HOURS, lambda at: state(at + 1))
    mine, theirs = fields(str(path)).order(), fields(str(other.path)).order()
    assert mine["fields"] != theirs["fields"] and mine["variables"] == theirs["variables"]
