"""Extra state on every layout: what a loss hands up adds up or is collected, so splitting changes nothing."""

import dataclasses
import math

import jax
import numpy as np
import pytest

from pangu_jax.models.placement import OneDevice
from pangu_jax.parallel import feed
from pangu_jax.parallel import layout as layouts
from pangu_jax.parallel.layout import Layout
from pangu_jax.parallel.mesh import make_mesh
from pangu_jax.training import optimizers, schedules, step
from pangu_jax.workloads import RunContext
from tests.workloads.stateful_digits import QUEUE, StatefulDigits, numpy_tree

BATCH, STEPS = 32, 5
LAYOUTS = {
    "data 8": Layout(data=8),
    "fsdp 8": Layout(data=1, fsdp=8),
    "model 4 x data 2": Layout(model=4, data=2),
    "stage 2 x data 4, gpipe": Layout(stage=2, data=4, schedule="gpipe", microbatches=4),
    "stage 2 x fsdp 2 x model 2, 1f1b": Layout(
        stage=2, data=1, fsdp=2, model=2, schedule="1f1b", microbatches=4
    ),
    "accumulated": Layout(data=2, microbatches=4),
}


@pytest.fixture(scope="module")
def workload():
    return StatefulDigits()


@pytest.fixture(scope="module")
def optimizer():
    # A larger epsilon: AdamW's first steps are signs of gradients, also of those that are rounding errors.
    return optimizers.adamw(schedules.constant_schedule(1e-2), epsilon=1e-4)


def trained(workload, optimizer, layout):
    assert layouts.check(layout, BATCH, workload.dimensions()) == []
    mesh = make_mesh(layout, jax.devices()[: math.prod(layout.axis_sizes().values())])
    run = RunContext(OneDevice(), layout.remat)
    train_step = step.make_train_step(workload, optimizer, run, layout, mesh, batch_size=BATCH, seed=0)
    state = step.init_state(workload, optimizer, mesh, 0)
    losses, batches = [], feed.batches(workload.train_source(BATCH, 0), mesh, BATCH, 0)
    for _ in range(STEPS):
        state, metrics = train_step(state, next(batches))
        losses.append(float(metrics["loss"]))
    return losses, numpy_tree({"params": state.params, "extra": state.extra})


@pytest.fixture(scope="module")
def one_device(workload, optimizer):
    return trained(workload, optimizer, Layout(data=1))


def test_the_state_is_worth_comparing(workload, one_device):
    losses, state = one_device
    fresh = numpy_tree(workload.init(jax.random.key(0)))
    assert losses[-1] < losses[0] - 0.1
    assert state["extra"]["statistics"]["seen"] == BATCH * STEPS
    for name in ("teacher", "queue", "statistics"):
        for old, new in zip(
            jax.tree.leaves(fresh.extra[name]), jax.tree.leaves(state["extra"][name]), strict=True
        ):
            assert not np.allclose(old, new)
    # First in, first out: the oldest rows that are left are those of the fresh queue.
    np.testing.assert_array_equal(
        state["extra"]["queue"][: QUEUE - BATCH * STEPS], fresh.extra["queue"][BATCH * STEPS :]
    )


@pytest.mark.parametrize("partitioning", ["auto", "manual"])
@pytest.mark.parametrize("name", LAYOUTS)
def test_parameters_and_extra_state_are_those_of_one_device(
    workload, optimizer, one_device, name, partitioning
):
    layout = dataclasses.replace(LAYOUTS[name], partitioning=partitioning)
    losses, state = trained(workload, optimizer, layout)
    np.testing.assert_allclose(losses, one_device[0], rtol=1e-5)
    for (path, expected), found in zip(
        jax.tree.leaves_with_path(one_device[1]), jax.tree.leaves(state), strict=True
    ):
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5, err_msg=jax.tree_util.keystr(path))
