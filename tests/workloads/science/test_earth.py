"""The Earth-specific transformer: its counts, its numbers beside a version by hand, errors of others."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pangu_jax.models.placement import OneDevice
from pangu_jax.workloads.science import shapes
from pangu_jax.workloads.science.model import earth_bias
from pangu_jax.workloads.science.model.earth import EarthConfig
from pangu_jax.workloads.science.model.token_grid import TokenGrid
from tests.workloads.science import pangu_by_hand, small_fields

EARTH = dataclasses.replace(small_fields.EARTH, latitude=17, longitude=16, patch=(2, 4, 2))


def parameters(config):
    return sum(
        math.prod(leaf.shape) for leaf in jax.tree.leaves(jax.eval_shape(config.init, jax.random.key(0)))
    )


def test_the_published_model_has_its_parameters_and_flops():
    full = EarthConfig()
    assert parameters(full) == shapes.shape_of(full).parameters == 64_220_169
    assert parameters(dataclasses.replace(full, height_channel=True)) - parameters(full) == 6_144
    biases = jax.eval_shape(full.init, jax.random.key(0))
    assert sum(biases[f"layer{n}"]["earth_bias"].size for n in (1, 2, 3, 4)) == 40_379_904
    shape = shapes.shape_of(full)
    forward = sum(tower.layers * tower.flops for tower in shape.towers) + sum(end.flops for end in shape.ends)
    assert forward == pytest.approx(8.42e12, rel=0.01)
    turned = EarthConfig(window=(2, 12, 6))  # what others take it to be
    assert parameters(turned) == 62_768_649


@pytest.fixture(scope="module")
def state():
    rng = np.random.default_rng(0)
    sides = (EARTH.latitude, EARTH.longitude)
    upper = rng.normal(size=(EARTH.levels, *sides, EARTH.upper))
    return upper, rng.normal(size=(*sides, EARTH.surface)), rng.normal(size=(*sides, EARTH.constants))


@pytest.fixture(scope="module")
def params():
    """Larger than those of a fresh model: with small ones a wrong bias or mask hardly shows."""
    given = EARTH.init(jax.random.key(0))
    leaves, tree = jax.tree.flatten(given)
    rng = np.random.default_rng(1)
    return tree.unflatten(
        [np.asarray(x) + 0.15 * rng.normal(size=x.shape).astype(np.float32) for x in leaves]
    )


@pytest.fixture(scope="module")
def by_hand(params, state):
    return pangu_by_hand.reference(params, EARTH, *state)


def test_it_gives_what_windows_one_by_one_give(params, state, by_hand):
    forward = EARTH.forward(OneDevice(), "none", jnp.float32)
    upper, surface, constants = (jnp.asarray(part, jnp.float32) for part in state)
    made = jax.jit(forward)(params, upper[None], surface[None], constants)
    for got, want in zip(made, by_hand, strict=True):
        np.testing.assert_allclose(got[0], want, atol=1e-4 * np.abs(want).max())


@pytest.mark.parametrize("error", pangu_by_hand.ERRORS)
def test_each_error_of_others_shows(error, params, state, by_hand):
    wrong = pangu_by_hand.reference(params, EARTH, *state, error)
    for got, want in zip(wrong, by_hand, strict=True):
        assert np.abs(got - want).max() > 1e-2 * np.abs(want).max()


SETTINGS = {
    "no roll": {"roll": False},
    "norm before": {"norm": "pre"},
    "bias shared by windows": {"bias": "shared"},
}


def test_lighter_forms_are_what_they_say(params, state):
    all_settings = {name: value for one in SETTINGS.values() for name, value in one.items()}
    config = dataclasses.replace(EARTH, height_channel=True, **all_settings)
    lighter = jax.tree.map(np.copy, params)
    for layer in ("layer1", "layer2", "layer3", "layer4"):
        lighter[layer]["earth_bias"] = lighter[layer]["earth_bias"][:, :, :1]
    rng = np.random.default_rng(2)
    wider = np.prod(config.patch) * (EARTH.upper + 1), EARTH.dims[0]
    lighter["embedding"]["upper"] = 0.3 * rng.normal(size=wider).astype(np.float32)
    upper, *others = state
    height = np.broadcast_to(rng.normal(size=(EARTH.levels, 1, 1, 1)), (*upper.shape[:-1], 1))
    given = (np.concatenate([upper, height], -1), *others)
    assert jax.tree.map(np.shape, lighter) == jax.tree.map(
        lambda leaf: leaf.shape, jax.eval_shape(config.init, jax.random.key(0))
    )
    wanted = pangu_by_hand.reference(lighter, config, *given, *SETTINGS)
    upper, surface, constants = (jnp.asarray(part, jnp.float32) for part in given)
    forward = jax.jit(config.forward(OneDevice(), "none", jnp.float32))
    made = forward(lighter, upper[None], surface[None], constants)
    for got, want in zip(made, wanted, strict=True):
        np.testing.assert_allclose(got[0], want, atol=1e-4 * np.abs(want).max())
    # Each of them shows, and so does the height: without one of them it is another forecast.
    whole = jax.tree.map(np.copy, lighter)
    for layer in ("layer1", "layer2", "layer3", "layer4"):
        whole[layer]["earth_bias"] = params[layer]["earth_bias"]
    flat = (np.concatenate([state[0], 0 * height], -1), *others)
    wrong = [
        pangu_by_hand.reference(whole, config, *given, *(name for name in SETTINGS if name != left))[0]
        for left in SETTINGS
    ]
    for other in (*wrong, pangu_by_hand.reference(lighter, config, *flat, *SETTINGS)[0]):
        assert np.abs(other - wanted[0]).max() > 1e-2 * np.abs(wanted[0]).max()


def test_a_bias_is_spread_and_gathered():
    window = (2, 4, 6)
    pairs, offsets = earth_bias.entries(window)
    table = np.random.default_rng(0).normal(size=(2, 3, pairs, offsets)).astype(np.float32)
    bias_GxHxMxN = earth_bias.spread(jnp.asarray(table), window)
    np.testing.assert_array_equal(earth_bias.gathered(bias_GxHxMxN, window), table)


def test_windows_of_an_area_do_not_reach_around():
    around, area = (TokenGrid(2, 4, 8, (2, 2, 4), periodic) for periodic in (True, False))
    seen = area.seen(True)
    assert around.seen(False) is None and around.seen(True).shape[0] == 1 and seen.shape[0] == 2
    assert (seen[0] == around.seen(True)[0]).all() and (seen[1] < around.seen(True)[0]).any()


@pytest.mark.parametrize(
    ("change", "part"),
    [
        ({"depths": (2, 3, 2, 2)}, "even numbers"),
        ({"longitude": 24}, "is not divisible by 16"),
        ({"window": (2, 3, 4)}, "half of one"),
        ({"heads": (3, 2)}, "is not divisible by its 3 heads"),
        ({"drop_path": 1.0}, "from 0 to below 1"),
    ],
)
def test_shapes_that_contradict_themselves(change, part):
    with pytest.raises(ValueError, match=part):
        dataclasses.replace(EARTH, **change)


def test_drop_path_rises_and_is_mirrored():
    config = EarthConfig()
    assert config.rates(0) == config.rates(3) == (0.0, pytest.approx(0.2 / 7))
    assert config.rates(1) == config.rates(2) and config.rates(2)[-1] == pytest.approx(0.2)
