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


def drawn(seed: int, factors: list[float]) -> dict:
    """By name, an array per layer; each layer's by a factor of its own."""
    random = np.random.default_rng(seed)
    draw = lambda shape, factor: jnp.asarray(factor * random.normal(size=shape), jnp.float32)  # noqa: E731
    return {name: [draw(shape, factor) for factor in factors] for name, shape in SHAPES.items()}


def run(transformation, params, gradients, **extra):
    """Parameters after two steps, and the state."""
    transformation = optax.with_extra_args_support(transformation)
    state = transformation.init(params)
    for scale in (1.0, -3.0):
        scaled = jax.tree.map(lambda g, scale=scale: scale * g, gradients)
        updates, state = transformation.update(scaled, state, params, **extra)
        params = optax.apply_updates(params, updates)
    return params, state


@settings(max_examples=5, deadline=None)
@given(
    st.lists(st.sampled_from([1e-5, 1e-2, 1.0, 30.0]), min_size=2, max_size=3), st.integers(0, 9), st.data()
)
def test_a_layer_of_a_stack_moves_as_by_itself(factors, seed, data):
    weights, gradients = drawn(seed, factors), drawn(seed + 10, factors[::-1])
    at = data.draw(st.integers(0, 1))  # where the layers are among an array's axes

    def stacked(tree):
        return {
            "encoder": {name: jnp.stack(arrays, at) for name, arrays in tree.items()},
            "head": tree["kernel"][0],
        }

    axes = {"encoder": {n: (*a[:at], "layers", *a[at:]) for n, a in AXES.items()}, "head": AXES["kernel"]}
    ours = adafactor(constant_schedule(RATE), clip=0.0).transformation
    found, _ = run(ours, stacked(weights), stacked(gradients), axes=axes)
    alone, _ = run(optax.adafactor(RATE), weights, gradients)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-5, atol=1e-9), found, stacked(alone))


def test_groups_of_parameters_are_stacked_too():
    weights, gradients = drawn(0, [1.0, 1e-2]), drawn(1, [1e-2, 1.0])
    stack = lambda tree: {name: jnp.stack(arrays) for name, arrays in tree.items()}  # noqa: E731
    axes = {name: ("layers", *named) for name, named in AXES.items()}
    grouped = adafactor(
        constant_schedule(RATE), clip=0.0, groups=[ParameterGroup("kernel", learning_rate=0.5)]
    ).transformation
    found, _ = run(grouped, stack(weights), stack(gradients), axes=axes)
    alone = {
        name: run(optax.adafactor(RATE), weights[name], gradients[name])[0] for name in ("scale", "tensor")
    }
    alone["kernel"] = run(optax.adafactor(RATE / 2), weights["kernel"], gradients["kernel"])[0]
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-5, atol=1e-9), found, stack(alone))


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
