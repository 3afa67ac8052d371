"""Calibration and the bootstrap."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pangu_jax.evaluation import bootstrap
from pangu_jax.evaluation.calibration import reliability


@given(st.lists(st.tuples(st.floats(0.5, 1), st.booleans()), min_size=1, max_size=50))
def test_the_error_is_the_weighted_distance_of_each_bin(answers):
    confidence, right = (np.array(part) for part in zip(*answers, strict=True))
    found = reliability(confidence, right, bins=4)
    error = 0.0
    for low in (0.25, 0.5, 0.75):
        inside = (confidence > low) & (confidence <= low + 0.25)
        if inside.any():
            error += inside.sum() * abs(confidence[inside].mean() - right[inside].mean())
    assert found.error == pytest.approx(error / len(answers))
    assert found.counts_B.sum() == len(answers)


def test_the_interval_is_that_of_a_mean():
    values = np.random.default_rng(1).normal(3.0, 2.0, 400)
    low, high = bootstrap.interval(values)
    half = 1.96 * values.std() / 20
    assert low == pytest.approx(values.mean() - half, abs=0.05)
    assert high == pytest.approx(values.mean() + half, abs=0.05)


def test_the_interval_of_groups_draws_them_whole():
    rng = np.random.default_rng(2)
    of_group = rng.normal(3.0, 2.0, 200)
    group_N = np.repeat(np.arange(200), 5)
    values = of_group[group_N]

    def mean(weight_N):
        return float(np.average(values, weights=weight_N))

    alone = bootstrap.grouped_interval(mean, np.arange(len(values)))
    together = bootstrap.grouped_interval(mean, group_N)
    half = 1.96 * values.std() / np.sqrt(200)
    assert together == pytest.approx((values.mean() - half, values.mean() + half), abs=0.06)
    assert np.ptp(alone) < 0.6 * np.ptp(together)
