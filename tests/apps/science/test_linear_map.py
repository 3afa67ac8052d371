"""The linear control: exact on linear dynamics, chosen without a look at what it forecasts."""

import numpy as np
import pytest

from pangu_jax.apps.science import linear_map
from pangu_jax.errors import UserError

LEVELS, LATITUDES, LONGITUDES, COUNT = 2, 3, 4, 240
DEVIATIONS = np.array([[2.0, 1.0], [3.0, 0.5]]), np.array([100.0])
WEIGHTS = np.array([0.5, 2.0, 0.5])


@pytest.fixture(scope="module")
def states():
    """A rotation of four patterns, slowly damped and stirred, about a climate far from 0."""
    rng = np.random.default_rng(0)
    size = LEVELS * LATITUDES * LONGITUDES * 2
    upper_KxF = rng.normal(size=(4, size))
    surface_KxF = rng.normal(size=(4, LATITUDES * LONGITUDES))
    turn = np.kron(np.eye(2), 0.98 * np.array([[np.cos(0.5), np.sin(0.5)], [-np.sin(0.5), np.cos(0.5)]]))
    held = np.zeros((COUNT, 4))
    for time in range(1, COUNT):
        held[time] = held[time - 1] @ turn + 0.1 * rng.normal(size=4)
    upper = (held @ upper_KxF).reshape(COUNT, LEVELS, LATITUDES, LONGITUDES, 2)
    surface = (held @ surface_KxF).reshape(COUNT, LATITUDES, LONGITUDES, 1)
    return (250 + upper * DEVIATIONS[0][:, None, None]).astype(np.float32), (1e5 + 100 * surface).astype(
        np.float32
    )


@pytest.fixture(scope="module")
def fitted(states):
    read = lambda place: (states[0][place], states[1][place])  # noqa: E731
    places = list(range(180))
    return linear_map.fit(
        read, places, [place + 1 for place in places], DEVIATIONS, WEIGHTS, False, (2, 4, 8)
    )


def test_it_forecasts_what_is_linear_up_to_the_stirring(states, fitted):
    upper, surface = (part[190:-1] for part in states)
    found, later = fitted.step(upper, surface), (part[191:] for part in states)
    assert fitted.components == 4  # no more patterns vary
    for made, still, truth in zip(found, (upper, surface), later, strict=True):
        assert made.dtype == np.float32 and made.shape == truth.shape
        assert np.sqrt(np.mean((made - truth) ** 2)) < 0.6 * np.sqrt(np.mean((still - truth) ** 2))


def test_two_calls_are_the_map_squared(states, fitted):
    once = fitted.step(states[0][200:203], states[1][200:203])
    twice = fitted.step(*once)
    rows = linear_map.anomalies((states[0][200:203], states[1][200:203]), fitted.mean, fitted.scale)
    (block,) = fitted.blocks
    expected = rows.reshape(3, -1) @ block.directions_FxK @ block.map_KxK @ block.map_KxK
    found = linear_map.anomalies(twice, fitted.mean, fitted.scale).reshape(3, -1) @ block.directions_FxK
    np.testing.assert_allclose(found, expected, atol=2e-3)


def test_cells_count_by_area(fitted):
    np.testing.assert_allclose(np.square(fitted.scale[1][:, 0, 0]) * WEIGHTS, 1e4)


@pytest.mark.parametrize(
    ("count", "change", "message"), [(6, 0.0, "a dozen"), (20, np.nan, "without missing")]
)
def test_what_cannot_be_fitted_is_said(states, count, change, message):
    read = lambda place: (states[0][place] + change, states[1][place])  # noqa: E731
    with pytest.raises(UserError, match=message):
        linear_map.fit(read, range(count), range(1, count + 1), DEVIATIONS, WEIGHTS, True)


def test_by_wave_number_it_learns_a_turn_of_the_globe_from_few_days():
    """Every day the pattern is one column further east: no other forecast of it is right."""
    rng = np.random.default_rng(1)
    first = (
        rng.normal(size=(40, 1, 2, 16, 1)).astype(np.float32),
        rng.normal(size=(40, 2, 16, 1)).astype(np.float32),
    )
    days = tuple(np.concatenate([part, np.roll(part, 1, -2)]) for part in first)
    read = lambda place: (days[0][place], days[1][place])  # noqa: E731
    places, deviations = np.arange(36), (np.ones((1, 1)), np.ones(1))
    given = (read, places, places + 40, deviations, np.ones(2))
    found = {zonal: linear_map.fit(*given, zonal, (4, 30), (1e-6,)) for zonal in (True, False)}
    errors = {
        zonal: np.std(one.step(days[0][36:40], days[1][36:40])[0] - days[0][76:])
        for zonal, one in found.items()
    }
    # The mean over longitudes of so few days is all that is not known.
    assert errors[True] < 0.15 < 0.8 < errors[False]
