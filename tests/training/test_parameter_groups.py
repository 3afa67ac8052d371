"""Parameters by regular expression: what a group changes, and that a frozen one costs nothing."""

import math
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from pangu_jax.errors import UserError
from pangu_jax.models.placement import OneDevice
from pangu_jax.parallel import feed
from pangu_jax.parallel.layout import Layout
from pangu_jax.parallel.mesh import make_mesh
from pangu_jax.recipes.unwrapping import unwrap
from pangu_jax.training import step
from pangu_jax.training.optimizers import adafactor, adamw, muon
from pangu_jax.training.parameter_groups import ParameterGroup, is_decayed, paths
from pangu_jax.training.schedules import constant_schedule, linear_schedule
from pangu_jax.workloads import RunContext, Variables
from tests.workloads.stateful_digits import StatefulDigits

BATCH = 32
RATE = 1e-2
PARAMS = {
    "encoder": {"norm": {"scale": jnp.ones(3), "bias": jnp.ones(3)}, "kernel": jnp.ones((3, 3))},
    "class_token": jnp.ones(3),
    "head": {"kernel": jnp.ones((3, 2)), "bias": jnp.ones(2)},
}


def updates(optimizer, grads=None):
    """The first update of all parameters, for gradients of one."""
    grads = grads or jax.tree.map(jnp.ones_like, PARAMS)
    transformation = optimizer.transformation
    found, state = transformation.update(grads, transformation.init(PARAMS), PARAMS)
    return dict(zip(jax.tree.leaves(paths(PARAMS)), jax.tree.leaves(found), strict=True)), state


def group(pattern, **settings):
    return ParameterGroup(pattern, **settings)


def test_norms_biases_and_tokens_are_not_decayed():
    found = zip(jax.tree.leaves(paths(PARAMS)), jax.tree.leaves(is_decayed(PARAMS)), strict=True)
    assert [path for path, decayed in found if decayed] == ["encoder/kernel", "head/kernel"]


def test_the_biases_of_stacked_blocks_are_not_decayed():
    named = {"perceptron": {"up": 1, "up_bias": 1, "down_bias": 1}, "encoder_bias": {"table": 1}}
    assert is_decayed(named) == {
        "perceptron": {"up": True, "up_bias": False, "down_bias": False},
        "encoder_bias": {"table": True},
    }


@pytest.mark.parametrize("make", [adamw, adafactor, muon])
def test_a_contrasts_temperature_and_bias_are_not_decayed(make):
    params = {"join": {"log_scale": jnp.float32(2.0), "bias": jnp.float32(-3.0), "image": jnp.ones((3, 3))}}
    transformation = make(constant_schedule(RATE), weight_decay=0.5).transformation
    nothing = jax.tree.map(jnp.zeros_like, params)
    found = transformation.update(nothing, transformation.init(params), params)[0]["join"]
    assert found["log_scale"] == found["bias"] == 0.0
    np.testing.assert_allclose(found["image"], -RATE * 0.5, rtol=1e-5)


def test_without_groups_the_state_is_as_it_was():
    """What checkpoints of version 0.1 hold."""
    _, state = updates(adamw())
    leaves = [jax.tree_util.keystr(path) for path, _ in jax.tree.leaves_with_path(state)]
    assert sum(".mu" in leaf for leaf in leaves) == sum(".nu" in leaf for leaf in leaves) == 6


@pytest.mark.parametrize("make", [adamw, adafactor])
def test_each_parameter_is_in_the_first_group_that_matches(make):
    settings = {"schedule": constant_schedule(RATE), "weight_decay": 0.0, "clip": 0.0}
    plain, _ = updates(make(**settings))
    grouped, _ = updates(
        make(
            **settings,
            groups=[
                group("^head/", learning_rate=10.0),
                group("bias$", learning_rate=0.5),
                group("token", schedule=linear_schedule(steps=4, learning_rate=3 * RATE)),
            ],
        )
    )
    factors = {"head/kernel": 10.0, "head/bias": 10.0, "encoder/norm/bias": 0.5, "class_token": 3.0}
    for path, update in plain.items():
        np.testing.assert_allclose(grouped[path], factors.get(path, 1.0) * update, rtol=1e-6)


def test_a_groups_weight_decay_holds_for_all_that_is_in_it():
    decay = {"schedule": constant_schedule(RATE), "weight_decay": 0.1, "clip": 0.0}
    plain, _ = updates(adamw(**decay))
    groups = [group("^encoder", weight_decay=0.5), group("^head", weight_decay=0.0)]
    grouped, _ = updates(adamw(**decay, groups=groups))
    more = {"encoder/norm/scale": 0.5, "encoder/kernel": 0.4, "head/kernel": -0.1, "head/bias": 0.0}
    for path, difference in more.items():
        np.testing.assert_allclose(grouped[path], plain[path] - RATE * difference, rtol=1e-5)


def test_a_frozen_group_has_no_state_and_no_share_in_the_clipping_norm():
    frozen = [group("^encoder|token", frozen=True)]
    settings = {"schedule": constant_schedule(RATE), "clip": 1.0}
    grads = jax.tree.map(jnp.ones_like, PARAMS)
    grads["encoder"] = jax.tree.map(jnp.zeros_like, grads["encoder"])  # as the trainer gives them
    grads["class_token"] = jnp.zeros(3)
    found, state = updates(adamw(**settings, groups=frozen), grads)
    assert not np.any(found["encoder/kernel"]) and not np.any(found["class_token"])
    arrays = [leaf for leaf in jax.tree.leaves(state) if leaf.ndim]
    assert sorted(leaf.shape for leaf in arrays) == [(2,), (2,), (3, 2), (3, 2)]


@pytest.fixture(scope="module")
def norm_of_what_learns():
    """Of the first gradient's "head" and "blocks/down", as one device has it."""
    workload = StatefulDigits()
    params, extra, _ = workload.init(jax.random.key(0))
    batch = workload.train_source(BATCH, 0).batch(0)

    @jax.jit
    def gradient(params):
        loss = lambda p: workload.loss(Variables(p, extra), batch, None, RunContext(OneDevice())).loss / BATCH  # noqa: E731
        return jax.grad(loss)(params)

    found = gradient(params)
    return float(optax.global_norm([found["head"], found["blocks"]["down"]]))


@pytest.mark.parametrize(
    "layout",
    [
        Layout(data=1),
        Layout(data=1, fsdp=4, model=2, microbatches=2, partitioning="manual"),
        Layout(stage=2, data=4, schedule="gpipe", microbatches=4),
    ],
    ids=["one device", "manual", "pipeline"],
)
def test_what_is_frozen_stays_and_the_rest_learns_alike(layout, norm_of_what_learns):
    """The gradient norm is that of what learns, in a pipeline too, which differentiates all of it."""
    workload = StatefulDigits()
    frozen = [group("^(embed|blocks/up)", frozen=True)]
    optimizer = adamw(constant_schedule(RATE), epsilon=1e-4, groups=frozen)
    mesh = make_mesh(layout, jax.devices()[: math.prod(layout.axis_sizes().values())])
    start = step.init_state(workload, optimizer, mesh, 0)
    before = jax.device_get(start.params)
    settings = {"batch_size": BATCH, "seed": 0}
    train_step = step.make_train_step(workload, optimizer, RunContext(OneDevice()), layout, mesh, **settings)
    batch = next(feed.batches(workload.train_source(BATCH, 0), mesh, BATCH, 0))
    state, metrics = train_step(start, batch)
    after = jax.device_get(state.params)
    for path, old, new in zip(*map(jax.tree.leaves, (paths(before), before, after)), strict=True):
        assert np.array_equal(old, new) == bool(re.match("embed|blocks/up", path)), path
    assert float(metrics["grad_norm"]) == pytest.approx(norm_of_what_learns, rel=1e-4)


MISTAKES = {
    "no regular expression": (lambda: group("(head"), r"'\(head' is no regular expression"),
    "matches nothing": (
        lambda: updates(adamw(groups=[group("^haed/kernel")])),
        r"'\^haed/kernel' matches no parameter.*head/kernel",
    ),
    "frozen with a rate": (
        lambda: group("head", frozen=True, learning_rate=2.0),
        "a frozen group has no learning rate",
    ),
    "all frozen": (
        lambda: adamw(groups=[group("", frozen=True)]).trainable(PARAMS),
        "nothing to train",
    ),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_a_mistake_is_one_line(case):
    make, words = MISTAKES[case]
    with pytest.raises(UserError, match=words) as caught:
        make()
    assert "\n" not in str(unwrap(caught.value))
