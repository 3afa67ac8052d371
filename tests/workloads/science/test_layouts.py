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
PLAIN = small_fields.model()
DROPS = small_fields.model(model=dataclasses.replace(small_fields.EARTH, drop_path=0.5))
FAST = Layout(data=2, sequence=2, model=2)
OTHERS = {
    "sequence 2 x model 2 x data 2": FAST,
    "data 2 x fsdp 2 x model 2, by hand": Layout(data=2, fsdp=2, model=2, partitioning="manual"),
    "data 8": Layout(data=8),
    "fsdp 8": Layout(data=1, fsdp=8),
    "fsdp 8, by hand": Layout(data=1, fsdp=8, partitioning="manual"),
    "sequence 4 x data 2": Layout(data=2, sequence=4),
}


def drawn(leaf):
    """Of the deviation that fresh parameters have, without compiling what draws those."""
    rng = np.random.default_rng(leaf.size)
    return (rng.normal(size=leaf.shape) * max(leaf.shape) ** -0.5).astype(np.float32)


def loss_and_gradient(layout, workload=PLAIN):
    """Drop path draws where there is any: it is as much to compile again as all else."""
    assert layouts.check(layout, BATCH, workload.dimensions()) == []
    mesh = make_mesh(layout, jax.devices()[: math.prod(layout.axis_sizes().values())])
    gradient = gradients.make_gradients(workload, layout, mesh, RunContext(OneDevice()), BATCH)
    params = jax.tree.map(drawn, jax.eval_shape(workload.init, jax.random.key(0)).params)
    keys = jax.random.split(jax.random.key(1), BATCH) if workload.model.drop_path else None
    batch = small_fields.batch(BATCH)
    specs = rules.batch_specs(workload.batch_axes(), batch)
    placed = {name: jax.device_put(x, jax.NamedSharding(mesh, specs[name])) for name, x in batch.items()}
    grads, sums = jax.jit(lambda p, b: gradient(Variables(p), b, keys))(params, placed)
    return jax.device_get((sums.loss / sums.weight, sums.metrics, grads))


@pytest.fixture(scope="module")
def one_device_that_drops():
    return loss_and_gradient(Layout(data=1), DROPS)


def assert_same(found, expected):
    for (path, want), got in zip(jax.tree.leaves_with_path(expected), jax.tree.leaves(found), strict=True):
        scale = max(np.max(np.abs(want)), 1e-3)
        np.testing.assert_allclose(
            got, want, rtol=1e-5, atol=2e-4 * scale, err_msg=jax.tree_util.keystr(path)
        )


def test_a_layout_changes_nothing():
    assert_same(loss_and_gradient(FAST), loss_and_gradient(Layout(data=1)))


@pytest.mark.prove
@pytest.mark.parametrize("name", OTHERS)
def test_more_layouts(name, one_device_that_drops):
    assert_same(loss_and_gradient(OTHERS[name], DROPS), one_device_that_drops)


def test_longitudes_over_devices_by_hand_are_refused():
    with pytest.raises(UserError, match=r"set Layout\.partitioning = 'auto'"):
        loss_and_gradient(Layout(data=4, sequence=2, partitioning="manual"))
