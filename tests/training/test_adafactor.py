"""Adafactor of stacked layers is Adafactor of each layer, as optax has it of a matrix by itself."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pangu_jax.training.optimizers import adafactor
from pangu_jax.training.parameter_groups import ParameterGroup
from pangu_jax.training.schedules import constant_schedule

RATE = 1e-2
SHAPES = {"kernel": (130, 129), "scale": (6,), "tensor": (4, 3, 5)}
AXES = {"kernel": ("embed", "mlp"), "scale": ("norm",), "tensor": ("embed", "heads", "kv")}
AT = {"kernel": 0, "scale": 0, "tensor": 1}  # where the layers are among an array's axes
STACKED = {name: (*AXES[name][:at], "layers", *AXES[name][at:]) for name, at in AT.items()}


def drawn(seed: int, factors: tuple[float, float]) -> dict[str, list[np.ndarray]]:
    """By name, an array for each of two layers; each layer's by a factor of its own."""
    random = np.random.default_rng(seed)
    return {
        name: [(factor * random.normal(size=shape)).astype("f4") for factor in factors]
        for name, shape in SHAPES.items()
    }


def stacked(tree):
    return {name: np.stack(arrays, AT[name]) for name, arrays in tree.items()}


def stepped(transformation, axes=None):
    """The jitted (parameters, gradients) -> parameters after two steps."""
    transformation = optax.with_extra_args_support(transformation)

    def steps(params, gradients):
        state = transformation.init(params)
        for scale in (1.0, -3.0):
            scaled = jax.tree.map(lambda g, scale=scale: scale * g, gradients)
            updates, state = transformation.update(scaled, state, params, axes=axes)
            params = optax.apply_updates(params, updates)
        return params

    return jax.jit(steps)


def assert_close(found, alone):
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-7), dict(found), stacked(alone)
    )


@pytest.fixture(scope="module")
def both():
    """Ours of stacked layers, and optax's of each layer."""
    schedule = constant_schedule(RATE)
    return stepped(adafactor(schedule, clip=0.0).transformation, STACKED), stepped(optax.adafactor(RATE))


FACTORS = st.sampled_from([1e-5, 1e-2, 1.0, 30.0])


@settings(max_examples=12, deadline=None)
@given(st.tuples(FACTORS, FACTORS), st.tuples(FACTORS, FACTORS), st.integers(0, 9))
def test_a_layer_of_a_stack_moves_as_by_itself(both, of_weights, of_gradients, seed):
    weights, gradients = drawn(seed, of_weights), drawn(seed + 10, of_gradients)
    ours, theirs = both
    assert_close(ours(stacked(weights), stacked(gradients)), theirs(weights, gradients))


def test_groups_of_parameters_are_stacked_too(both):
    weights, gradients = drawn(0, (1.0, 1e-2)), drawn(1, (1e-2, 1.0))
    twice = ParameterGroup("kernel", schedule=constant_schedule(2 * RATE), learning_rate=0.5)
    grouped = adafactor(constant_schedule(RATE), clip=0.0, groups=[twice]).transformation
    found = stepped(grouped, STACKED)(stacked(weights), stacked(gradients))
    assert_close(found, both[1](weights, gradients))


@pytest.mark.parametrize("rate", [1e-2, 1e-3])
def test_weights_decay_by_the_learning_rate(rate):
    """optax.adafactor's decay is the same whatever the rate: 0.1 would take a tenth of them at each step."""
    transformation = adafactor(constant_schedule(rate), weight_decay=0.1, clip=0.0).transformation
    params = {"kernel": jnp.full((3, 2), 2.0), "scale": jnp.full(3, 2.0)}
    updates, _ = transformation.update(
        jax.tree.map(jnp.zeros_like, params), transformation.init(params), params
    )
    np.testing.assert_allclose(updates["kernel"], -rate * 0.1 * 2.0, rtol=1e-6)
    assert not np.any(updates["scale"])


def test_its_state_is_that_of_optax():
    """So that checkpoints of earlier versions are read."""
    params = {name: jnp.ones(shape) for name, shape in SHAPES.items()}
    paths = lambda tree: [jax.tree_util.keystr(path) for path, _ in jax.tree.leaves_with_path(tree)]  # noqa: E731
    schedule = constant_schedule(RATE)
    before = optax.adafactor(schedule, weight_decay_rate=0.1).init(params)
    assert paths(adafactor(schedule, weight_decay=0.1, clip=0.0).transformation.init(params)) == paths(before)
