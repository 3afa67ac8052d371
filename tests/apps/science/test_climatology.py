"""Climates against the definition, day by day."""

import numpy as np
import pytest

from pangu_jax.apps.science import climatology
from pangu_jax.errors import UserError

HOURS = np.arange(np.datetime64("2019-01-01T00"), np.datetime64("2021-01-01T00"), np.timedelta64(12, "h"))


def state(value):
    return np.full((1, 1, 1, 1), value, np.float32), np.full((1, 1, 1), -value, np.float32)


def definition(values_N, day, hour):
    """Of a table of years and days 1 to 366, a year of 365 with its last one twice; a triangle of 61."""
    table = np.full((2, 366), np.nan)
    for time, value in zip(HOURS, values_N, strict=True):
        own_day, own_hour = climatology.day_and_hour(time)
        if own_hour == hour:
            table[int(time.astype("datetime64[Y]").astype(int)) + 1970 - 2019, own_day - 1] = value
    table[0, 365] = table[0, 364]
    triangle = np.concatenate([np.linspace(0, 1, 31), np.linspace(1, 0, 31)[1:]])
    columns = (day - 1 + np.arange(-30, 31)) % 366
    return np.sum(table[:, columns] * triangle) / (2 * triangle.sum())


def test_by_day_and_hour_is_the_triangle_over_all_years():
    values_N = np.random.default_rng(0).normal(size=len(HOURS)).astype(np.float32)
    times = [np.datetime64(t) for t in ("2030-01-05T12", "2030-12-31T00", "2032-12-31T00", "2031-06-30T00")]
    pairs = ((t, state(v)) for t, v in zip(HOURS, values_N, strict=True))
    climate = climatology.by_day_and_hour(pairs, times)
    for time in times:
        upper, surface = climate.at(time)
        np.testing.assert_allclose(
            upper.item(), definition(values_N, *climatology.day_and_hour(time)), rtol=1e-12
        )
        assert surface.item() == -upper.item()
    assert climate.at(times[1])[0].item() != climate.at(times[2])[0].item()


def test_a_day_that_is_far_from_all_states_is_refused():
    pairs = [(np.datetime64("2020-01-01T00"), state(1.0))]
    with pytest.raises(UserError, match="none within 30 days of day 152 of the year at 00 h"):
        climatology.by_day_and_hour(pairs, [np.datetime64("2021-06-01T00")])


def test_the_mean_leaves_out_what_is_missing():
    climate = climatology.mean([state(1.0), state(np.nan), state(4.0)])
    assert climate.at(HOURS[0])[0].item() == 2.5 and climate.at(HOURS[9])[1].item() == -2.5
    with pytest.raises(UserError, match="needs states"):
        climatology.mean([])


def test_days_of_the_year_count_from_one():
    days = {
        "2020-01-01T06": (1, 6),
        "2020-12-31T18": (366, 18),
        "2021-12-31T00": (365, 0),
        "1582-03-01T00": (60, 0),
    }
    for time, wanted in days.items():
        assert climatology.day_and_hour(np.datetime64(time)) == wanted
