"""A forecast model on every layout: the loss and each gradient are one device's."""

import dataclasses
import math

import jax
import numpy as np
import pytest

from pangu_jax.errors import UserError
from pangu_jax.models.placement import OneDevice
from pangu_jax.parallel import layout as layouts
from pangu_jax.parallel import rules
from pangu_jax.parallel.layout import Layout
from pangu_jax.parallel.mesh import make_mesh
from pangu_jax.training import gradients
from pangu_jax.workloads import RunContext, Variables
from tests.workloads.science import small_fields

BATCH = 8
WORKLOAD = small_fields.model(model=dataclasses.replace(small_fields.EARTH, drop_path=0.5))
FAST = {
    "sequence 2 x model 2 x data 2": Layout(data=2, sequence=2, model=2),
}
OTHERS = {
    "data 2 x fsdp 2 x model 2, by hand": Layout(data=2, fsdp=2, model=2, partitioning="manual"),
    "data 8": Layout(data=8),
    "fsdp 8": Layout(data=1, fsdp=8),
    "fsdp 8, by hand": Layout(data=1, fsdp=8, partitioning="manual"),
    "sequence 4 x data 2": Layout(data=2, sequence=4),
}


def loss_and_gradient(layout):
    assert layouts.check(layout, BATCH, WORKLOAD.dimensions()) == []
    mesh = make_mesh(layout, jax.devices()[: math.prod(layout.axis_sizes().values())])
    gradient = gradients.make_gradients(WORKLOAD, layout, mesh, RunContext(OneDevice()), BATCH)
    params = WORKLOAD.init(jax.random.key(0)).params
    keys = jax.random.split(jax.random.key(1), BATCH)
    batch = small_fields.batch(BATCH)
    specs = rules.batch_specs(WORKLOAD.batch_axes(), batch)
    placed = {name: jax.device_put(x, jax.NamedSharding(mesh, specs[name])) for name, x in batch.items()}
    grads, sums = jax.jit(lambda p, b: gradient(Variables(p), b, keys))(params, placed)
    return jax.device_get((sums.loss / sums.weight, sums.metrics, grads))


@pytest.fixture(scope="module")
def one_device():
    return loss_and_gradient(Layout(data=1))


def assert_same(found, expected):
    for (path, want), got in zip(jax.tree.leaves_with_path(expected), jax.tree.leaves(found), strict=True):
        scale = max(np.max(np.abs(want)), 1e-3)
        np.testing.assert_allclose(
            got, want, rtol=1e-5, atol=2e-4 * scale, err_msg=jax.tree_util.keystr(path)
        )


@pytest.mark.parametrize("name", FAST)
def test_a_layout_changes_nothing(name, one_device):
    assert_same(loss_and_gradient(FAST[name]), one_device)


@pytest.mark.prove
@pytest.mark.parametrize("name", OTHERS)
def test_more_layouts(name, one_device):
    assert_same(loss_and_gradient(OTHERS[name]), one_device)


def test_longitudes_over_devices_by_hand_are_refused():
    with pytest.raises(UserError, match=r"set Layout\.partitioning = 'auto'"):
        loss_and_gradient(Layout(data=4, sequence=2, partitioning="manual"))
