"""Noise of initial states."""

import numpy as np
import pytest

from data_pipelines.fields.grid import Grid
from data_pipelines.fields.statistics import Statistics
from data_pipelines.fields.variables import FieldNames
from pangu_jax.apps.science import perturbing

GRID = Grid(np.linspace(90, -90, 19), np.arange(36) * 10.0, np.array([1000.0, 1000.0 / np.e, 500.0]))
NAMES = FieldNames(("t", "q"), ("sp",))
CHANGE = Statistics(
    np.zeros((3, 2)), np.array([[1.0, 1e-3], [2, 1e-3], [3, 1e-3]]), np.zeros(1), np.array([100.0])
)
STATE = np.zeros((3, 19, 36, 2), np.float32) + np.float32([280, 1e-4]), np.full((19, 36, 1), 1e5, np.float32)


def test_noise_is_of_the_size_and_the_correlation_asked_for():
    drawn = np.stack(
        [
            perturbing.noise(GRID, np.array([0.0, 1.0, 0.7]), 1500, np.random.default_rng(n))
            for n in range(200)
        ]
    )
    assert drawn.std() == pytest.approx(1, abs=0.05)
    np.testing.assert_allclose(drawn.std(0), 1, atol=0.3)  # at the poles as at the equator
    equator = drawn[:, 0, 9]
    chord = 2 * perturbing.RADIUS * np.sin(np.deg2rad(10 / 2))
    near = np.mean(
        [equator[:, at] * equator[:, (at + 1) % 36] for at in range(36)]
    )  # the seam is a pair as well
    assert near == pytest.approx(np.exp(-(chord**2) / (2 * 1500**2)), abs=0.06)
    assert np.mean(drawn[:, 0] * drawn[:, 1]) == pytest.approx(np.exp(-0.5), abs=0.06)
    np.testing.assert_allclose(
        drawn[:, :, 0], drawn[:, :, 0, :1].repeat(36, 2), atol=1e-4
    )  # a pole is one place


def test_members_differ_by_a_share_of_a_change_and_the_first_does_not():
    def member(number, seed=0):
        return perturbing.member(number, STATE, GRID, NAMES, CHANGE, 0.1, 2000, seed)

    assert member(0) is STATE
    upper, surface = member(1)
    np.testing.assert_array_equal(upper, member(1)[0])
    assert not np.allclose(upper, member(2)[0]) and not np.allclose(upper, member(1, seed=1)[0])
    spread = np.std([member(number)[0][..., 0] - 280 for number in range(1, 80)], axis=(0, 2, 3))
    np.testing.assert_allclose(spread, [0.1, 0.2, 0.3], rtol=0.15)
    assert upper[..., 1].min() >= 0  # humidity, which is 1e-4 with noise as large
    assert np.std(surface) == pytest.approx(10, rel=0.5)
