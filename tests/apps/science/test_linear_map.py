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
    return (250 + upper * DEVIATIONS[0][:, None, None]).astype(np.float32), (1e5 + 100 * surface).astype(np.float32)


@pytest.fixture(scope="module")
def fitted(states):
    read = lambda place: (states[0][place], states[1][place])  # noqa: E731
    places = list(range(180))
    return linear_map.fit(read, places, [place + 1 for place in places], DEVIATIONS, WEIGHTS, (2, 4, 8))


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
    expected = rows @ fitted.directions_FxK @ fitted.map_KxK @ fitted.map_KxK
    found = linear_map.anomalies(twice, fitted.mean, fitted.scale) @ fitted.directions_FxK
    np.testing.assert_allclose(found, expected, atol=2e-3)


def test_cells_count_by_area(fitted):
    np.testing.assert_allclose(np.square(fitted.scale[1][:, 0, 0]) * WEIGHTS, 1e4)


@pytest.mark.parametrize(("count", "change", "message"), [(6, 0.0, "a dozen"), (20, np.nan, "without missing")])
def test_what_cannot_be_fitted_is_said(states, count, change, message):
    read = lambda place: (states[0][place] + change, states[1][place])  # noqa: E731
    with pytest.raises(UserError, match=message):
        linear_map.fit(read, range(count), range(1, count + 1), DEVIATIONS, WEIGHTS)
