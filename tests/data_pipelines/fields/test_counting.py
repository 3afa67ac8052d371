"""Grids, times, moments and splits of fields, over many drawn ones."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_pipelines.errors import DataError
from data_pipelines.fields import hours
from data_pipelines.fields.grid import Grid
from data_pipelines.fields.splitting import HeldOut, starts
from data_pipelines.fields.statistics import moments
from data_pipelines.fields.variables import VARIABLES, known
from tests.data_pipelines.fields.small_store import GRID

lean = settings(max_examples=40, deadline=None)


@lean
@given(
    st.lists(st.integers(0, 400), min_size=2, max_size=80, unique=True).map(sorted),
    st.integers(1, 30),
    st.integers(1, 3),
    st.one_of(st.floats(0.05, 0.95), st.sampled_from(["1900-01-04", "1900-01-03/1900-01-09"])),
    st.integers(0, 60),
)
def test_windows_are_whole_and_sides_keep_apart(times, lead, steps, validation, gap):
    hours_N, held_out = np.array(times), HeldOut(validation, gap)
    starts_N = starts(hours_N, lead, steps)
    windows = [[t + step * lead for step in range(steps + 1)] for t in times]
    assert hours_N[starts_N].tolist() == [window[0] for window in windows if set(window) <= set(times)]
    learnt, tested = (set(side.tolist()) for side in held_out.split(hours_N, starts_N, lead * steps))
    border, end = held_out.bounds(hours_N)
    for place in starts_N.tolist():
        window = windows[place]
        assert (place in learnt) == all(t < border - gap for t in window)
        assert (place in tested) == all(border <= t < end for t in window)
    assert not learnt & tested


@pytest.mark.parametrize("validation", [0, 1.0, "soon", "2018-13-01", "2018-02-01/2018-01-01"])
def test_what_cannot_be_held_out_is_refused(validation):
    with pytest.raises(DataError, match=r"fields\.validation"):
        HeldOut(validation, 0)


@lean
@given(
    st.integers(0, 2**32 - 1), st.integers(1, 6), st.integers(1, 4), st.sampled_from([0.0, 0.3, 0.95]),
    st.sampled_from([0, 1e5, -3e-4]),
)  # fmt: skip
def test_moments_are_those_of_all_cells_that_are_there(seed, states, count, lacking, mean):
    rng = np.random.default_rng(seed)
    x_NxFxHxW = rng.normal(mean, 1 + abs(mean) / 100, (states, count, 3, 5)).astype(np.float32)
    x_NxFxHxW[rng.random(x_NxFxHxW.shape) < lacking] = np.nan
    found = moments(lambda place: [*x_NxFxHxW[place]], range(states))
    rows_FxN = np.moveaxis(x_NxFxHxW, 1, 0).reshape(count, -1).astype(np.float64)
    there = [row[~np.isnan(row)] for row in rows_FxN]
    assert found.count_F.tolist() == [len(row) for row in there]
    for row, average, deviation in zip(there, found.mean_F, found.std_F, strict=True):
        if len(row):
            np.testing.assert_allclose(average, row.mean(), rtol=1e-13, atol=1e-13)
            np.testing.assert_allclose(deviation, row.std(), rtol=1e-9, atol=1e-6 * (1 + abs(mean)))
        else:
            assert np.isnan(average) and np.isnan(deviation)


@lean
@given(st.integers(2, 40), st.integers(1, 40), st.floats(-0.4, 0.4))
def test_a_grid_is_what_its_json_says_and_its_weights_are_areas(latitudes, longitudes, jitter):
    latitude = np.linspace(90, -90, latitudes)
    latitude[1:-1] += jitter * 180 / latitudes
    grid = Grid(latitude, np.arange(longitudes) * 360 / longitudes, [500.0])
    assert Grid.from_json(grid.to_json()) == grid
    bounds = np.deg2rad([90, *(latitude[1:] + latitude[:-1]) / 2, -90])
    areas = np.sin(bounds[:-1]) - np.sin(bounds[1:])
    np.testing.assert_allclose(grid.weights_H, areas / areas.mean(), rtol=1e-12)
    assert dataclasses.replace(grid, level_L=np.array([850.0])) != grid


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"latitude_H": GRID.latitude_H[::-1]}, "north to south"),
        ({"longitude_W": [0, 180, 90]}, "ascend"),
        ({"longitude_W": [0, 120, 240, 360]}, "first column there twice"),
        ({"longitude_W": [0, 10, 20]}, "all around, not 0 to 20"),
        ({"latitude_H": [np.nan, 0]}, "row of numbers"),
    ],
)
def test_a_grid_that_cannot_be_is_refused(changed, said):
    with pytest.raises(DataError, match=said):
        dataclasses.replace(GRID, **changed)
    part = Grid([10, 0], [-10.0, 0, 10], [500.0], periodic=False)
    assert "3 longitudes where 6 are needed" in dataclasses.replace(GRID, latitude_H=[10, 0]).differs(part)


def test_times_are_whole_hours_in_their_order():
    given_N = np.array(["2020-01-01T00", "2020-02-29T18"], "datetime64[ns]")
    np.testing.assert_array_equal(hours.at(hours.since(hours.ascending(given_N))), given_N)
    for times, said in (
        ([], "no times"),
        (["2020-01-01T00:30"], "whole hours, not 2020-01-01T00:30"),
        (["2020-01-02", "2020-01-02"], "2020-01-02T00 stands after 2020-01-02T00"),
    ):
        with pytest.raises(DataError, match=said):
            hours.ascending(np.array(times, "datetime64[m]"))


def test_a_variable_is_known_by_all_of_its_names():
    for variable in VARIABLES.values():
        assert known(variable.short) is known(variable.long) is variable
        assert variable.low < variable.high and variable.units and variable.standard_name
    turning = {name for name, variable in VARIABLES.items() if variable.northward}
    assert turning == {"v", "v10", "vo"} and known("10m_v_component_of_wind") is known("10v")
    assert known("flux_of_nothing") is None


def test_weights_of_a_part_of_the_globe_do_not_reach_to_the_poles():
    area = Grid(np.linspace(60, 20, 33), np.arange(36) * 2.5, [500.0], periodic=False)
    rows = np.cos(np.deg2rad(area.latitude_H))
    np.testing.assert_allclose(area.weights_H, rows / rows.mean(), rtol=1e-4)
