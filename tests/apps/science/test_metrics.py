"""Scores against plain forms of their definitions, and on real fields."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pangu_jax.apps.science import areas, metrics
from pangu_jax.errors import UserError

LATITUDE_H = np.array([80.0, 45.0, 10.0, -20.0, -75.0])
LONGITUDE_W = np.arange(0, 360, 45.0)
TIMES, LEVELS = 3, 2


def weights(latitude_H):
    """Area of each latitude's cells, by the definition, over their mean."""
    order = np.argsort(latitude_H)
    edges = np.deg2rad(np.concatenate([[-90], (latitude_H[order][1:] + latitude_H[order][:-1]) / 2, [90]]))
    area = np.empty(len(latitude_H))
    area[order] = np.sin(edges[1:]) - np.sin(edges[:-1])
    return area / area.mean()


def area_mean(field_HxW, inside_HxW):
    """ScoreCell by cell."""
    total = share = 0.0
    for h, w in itertools.product(range(len(LATITUDE_H)), range(len(LONGITUDE_W))):
        if inside_HxW[h, w]:
            total += weights(LATITUDE_H)[h] * float(field_HxW[h, w])
            share += weights(LATITUDE_H)[h]
    return total / share


@pytest.fixture(scope="module", params=[np.float32, np.float64])
def fields(request):
    """Forecast, truth and climate of a height, far from 0, and an ensemble: [T, L, H, W], [M, T, L, H, W]."""
    rng = np.random.default_rng(5)
    shape = (TIMES, LEVELS, len(LATITUDE_H), len(LONGITUDE_W))
    climate = rng.normal(5e4, 300, shape)
    truth = climate + rng.normal(0, 100, shape)
    forecast = truth + rng.normal(5, 40, shape)
    members = truth + rng.normal(0, 50, (4, *shape))
    return [one.astype(request.param) for one in (forecast, truth, climate, members)]


@pytest.mark.parametrize("region", ["global", "europe", "extra-tropics", "ausnz"])
def test_every_score_is_its_definition(fields, region):
    forecast, truth, climate, members = fields
    area = areas.area(LATITUDE_H, LONGITUDE_W, region)
    inside = np.zeros(truth.shape[-2:], bool)
    inside.ravel()[slice(None) if area.cells_C is None else area.cells_C] = True
    f, t, c, m = (one.astype(np.float64) for one in fields)

    def means(x):
        return np.array([[area_mean(x[i, j], inside) for j in range(LEVELS)] for i in range(TIMES)])

    def close(found, wanted):
        assert found.dtype == np.float64
        np.testing.assert_allclose(found, wanted, rtol=1e-12 if forecast.dtype == np.float64 else 1e-6)

    close(metrics.mean_square_error(forecast, truth, area), means((f - t) ** 2))
    close(metrics.rmse(forecast, truth, area), np.sqrt(means((f - t) ** 2).mean(0)))
    close(metrics.bias(forecast, truth, area), means(f - t))
    a, b = f - c, t - c
    close(metrics.acc(forecast, truth, climate, area), means(a * b) / np.sqrt(means(a * a) * means(b * b)))
    wind = metrics.wind_vector_rmse((forecast, members[0]), (truth, climate), area)
    close(wind, np.sqrt(means((f - t) ** 2 + (m[0] - c) ** 2).mean(0)))
    pairs = [abs(m[i] - m[j]) for i, j in itertools.permutations(range(4), 2)]
    skill, spread = means(np.mean(abs(m - t), 0)), means(np.mean(pairs, 0))
    found = metrics.crps(members, truth, area)
    for name, wanted in (("skill", skill), ("spread", spread), ("score", skill - spread / 2)):
        close(getattr(found, name), wanted)
    both = metrics.spread_skill(members, truth, area)
    close(both.spread, np.sqrt(means(m.var(0, ddof=1)).mean(0)))
    close(both.skill, np.sqrt(means((m.mean(0) - t) ** 2).mean(0)))
    close(both.ratio, both.spread / both.skill)


def test_order_of_latitudes_does_not_matter(fields):
    forecast, truth = fields[:2]
    south_first = metrics.rmse(
        forecast[..., ::-1, :], truth[..., ::-1, :], areas.area(LATITUDE_H[::-1], LONGITUDE_W, "europe")
    )
    np.testing.assert_allclose(
        south_first, metrics.rmse(forecast, truth, areas.area(LATITUDE_H, LONGITUDE_W, "europe")), rtol=1e-13
    )


def test_poles_count_by_their_caps():
    latitude_H = np.linspace(90, -90, 7)
    np.testing.assert_allclose(areas.cell_weights(latitude_H), weights(latitude_H), rtol=1e-14)
    assert areas.cell_weights(latitude_H)[0] == pytest.approx((1 - np.cos(np.deg2rad(15))) / (2 / 7))


def test_regions_wrap_around_greenwich_and_hold_their_ends():
    inside = areas.area(LATITUDE_H, LONGITUDE_W, "europe").cells_C
    np.testing.assert_array_equal(inside, [1 * 8 + 0])  # 45 N at 0 E: 45 E is outside of 42.5
    west = areas.area(LATITUDE_H, LONGITUDE_W - 180, "europe").cells_C
    np.testing.assert_array_equal(west, [1 * 8 + 4])
    tropics = areas.area(LATITUDE_H, LONGITUDE_W, "tropics").cells_C
    assert set(tropics // 8) == {2, 3}
    with pytest.raises(UserError, match=r"'tropic' is none of .*did you mean 'tropics'"):
        areas.area(LATITUDE_H, LONGITUDE_W, "tropic")
    with pytest.raises(UserError, match="no cell of the grid"):
        areas.area(LATITUDE_H[:1], LONGITUDE_W, "ausnz")


def test_what_is_missing_is_missing_where_it_counts(fields):
    forecast, truth = fields[0].copy(), fields[1]
    forecast[0, 0, 0, 0] = np.nan  # 80 N
    found = metrics.rmse(forecast, truth, areas.area(LATITUDE_H, LONGITUDE_W))
    assert np.isnan(found[0]) and np.isfinite(found[1])
    assert np.isfinite(metrics.rmse(forecast, truth, areas.area(LATITUDE_H, LONGITUDE_W, "tropics"))).all()
    there = np.isfinite(forecast).all((0, 1))
    assert np.isfinite(
        metrics.rmse(forecast, truth, areas.area(LATITUDE_H, LONGITUDE_W, there_HxW=there))
    ).all()


def test_one_member_has_its_absolute_error_and_no_spread(fields):
    truth, members = fields[1], fields[3][:1]
    area = areas.area(LATITUDE_H, LONGITUDE_W)
    found = metrics.crps(members, truth, area)
    assert (found.spread == 0).all() and (metrics.spread_skill(members, truth, area).spread == 0).all()
    np.testing.assert_allclose(found.score, found.skill)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 33), st.integers(0, 2**31))
def test_networks_sort(count, seed):
    values = np.random.default_rng(seed).integers(0, 9, count)
    x = list(values)
    for low, high in metrics.sorting_network(count):
        assert low < high
        if x[low] > x[high]:
            x[low], x[high] = x[high], x[low]
    assert x == sorted(values)


@pytest.mark.parametrize("width", [8, 9])
def test_spectra_hold_the_energy_around_each_circle(width):
    rng = np.random.default_rng(3)
    x = rng.normal(size=(2, 3, width))
    latitude_H = np.array([60.0, 0.0, -30.0])
    energy = metrics.zonal_spectrum(x, latitude_H)
    circle_H = 2 * np.pi * 6_367_500 * np.cos(np.deg2rad(latitude_H))
    total = np.mean(x**2, -1) * circle_H
    extra = energy[..., -1] / 2 if width % 2 == 0 else 0  # the last wave of an even row counts twice
    np.testing.assert_allclose(energy.sum(-1) - extra, total, rtol=1e-12)
    wave = np.cos(2 * np.pi * 2 * np.arange(width) / width)[None]
    np.testing.assert_allclose(metrics.zonal_spectrum(wave, np.zeros(1))[0, 2], circle_H[1] / 2)
    assert metrics.wavelengths(latitude_H, 3)[1, 2] == circle_H[1] / 2


def test_shapes_that_differ_are_no_broadcast():
    area = areas.area(LATITUDE_H, LONGITUDE_W)
    with pytest.raises(ValueError, match="shapes"):
        metrics.rmse(np.zeros((2, 5, 8)), np.zeros((1, 5, 8)), area)
