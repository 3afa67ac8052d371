"""A model of pictures and captions on every layout: the loss and each gradient are one device's."""

import math

import jax
import numpy as np
import pytest

from pangu_jax.models.placement import OneDevice
from pangu_jax.parallel import layout as layouts
from pangu_jax.parallel.layout import Layout
from pangu_jax.parallel.mesh import make_mesh
from pangu_jax.training import gradients
from pangu_jax.workloads import RunContext, Variables
from tests.workloads.multimodal import small_pairs

BATCH = 16
WORKLOAD = small_pairs.model(contrast="siglip")
FAST = {
    "data 8": Layout(data=8),
    "data 4 x model 2, by hand": Layout(data=4, model=2, partitioning="manual"),
    "data 2 x fsdp 2 x model 2, by hand, accumulated": Layout(
        data=2, fsdp=2, model=2, partitioning="manual", microbatches=2
    ),
}
OTHERS = {
    "fsdp 8": Layout(data=1, fsdp=8),
    "fsdp 8, by hand": Layout(data=1, fsdp=8, partitioning="manual"),
    "data 4 x model 2": Layout(data=4, model=2),
    "data 2 x model 4, accumulated": Layout(data=2, model=4, microbatches=4),
}


def loss_and_gradient(layout, workload=WORKLOAD):
    assert layouts.check(layout, BATCH, workload.dimensions()) == []
    mesh = make_mesh(layout, jax.devices()[: math.prod(layout.axis_sizes().values())])
    gradient = gradients.make_gradients(workload, layout, mesh, RunContext(OneDevice()), BATCH)
    params = workload.init(jax.random.key(0)).params
    grads, sums = jax.jit(lambda p, b: gradient(Variables(p), b, None))(params, small_pairs.batch(BATCH))
    return jax.device_get((sums.loss / sums.weight, sums.metrics, grads))


@pytest.fixture(scope="module")
def one_device():
    return loss_and_gradient(Layout(data=1))


def assert_same(found, expected):
    for (path, want), got in zip(jax.tree.leaves_with_path(expected), jax.tree.leaves(found), strict=True):
        scale = max(np.max(np.abs(want)), 1e-3)
        np.testing.assert_allclose(
            got, want, rtol=1e-5, atol=1e-5 * scale, err_msg=jax.tree_util.keystr(path)
        )


@pytest.mark.parametrize("name", FAST)
def test_a_layout_changes_nothing(name, one_device):
    assert_same(loss_and_gradient(FAST[name]), one_device)


@pytest.mark.prove
@pytest.mark.parametrize("name", OTHERS)
def test_more_layouts(name, one_device):
    assert_same(loss_and_gradient(OTHERS[name]), one_device)


@pytest.mark.prove
@pytest.mark.parametrize("name", FAST | OTHERS)
def test_with_queries_and_clip(name):
    workload = small_pairs.model(contrast="clip", queries=4)
    layout = (FAST | OTHERS)[name]
    assert_same(loss_and_gradient(layout, workload), loss_and_gradient(Layout(data=1), workload))
