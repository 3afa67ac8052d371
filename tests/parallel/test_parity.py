"""Every layout against one device: losses of three optimizer steps, and each gradient of the first."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from data_pipelines.synthetic import SyntheticTokens
from pangu_jax.models.encoder_decoder import EncoderDecoderConfig
from pangu_jax.parallel.constraints import ConstraintPlacement
from pangu_jax.parallel.layout import Layout
from pangu_jax.parallel.mesh import make_mesh
from pangu_jax.training import feed, optimizers, schedules, step
from pangu_jax.workloads import Run
from pangu_jax.workloads.language import LanguageModel

BATCH = 16
WORKLOAD = LanguageModel(
    EncoderDecoderConfig(
        vocab_size=64,
        d_model=32,
        d_ff=64,
        heads=4,
        encoder_layers=2,
        decoder_layers=2,
        position="relative",
        dropout=0.1,
        loss_chunk=40,
    ),
    SyntheticTokens(64, encoder_length=12, decoder_length=8),
)
LAYOUTS = {
    "data 8": Layout(data=8),
    "fsdp 8": Layout(data=1, fsdp=8),
    "model 4 x data 2": Layout(model=4, data=2),
    "data 2 x fsdp 2 x model 2": Layout(data=2, fsdp=2, model=2),
}


def three_steps(layout, optimizer):
    """Losses of three steps, and the first gradient, on the first devices that the layout needs."""
    mesh = make_mesh(layout, jax.devices()[: math.prod(layout.axis_sizes().values())])
    run = Run(ConstraintPlacement(mesh), layout.remat, jnp.float32)
    options = {"seed": 0, "microbatches": layout.microbatches}
    state = step.init_state(WORKLOAD, optimizer, mesh, 0)
    batches = feed.batches(WORKLOAD.train_source(BATCH, 0), mesh, BATCH, 0)
    train_step = step.make_train_step(WORKLOAD, optimizer, run, mesh, **options)

    @jax.jit
    def first_gradient(params, batch):
        key = jax.random.fold_in(jax.random.key(0), 0)
        return step.gradients(WORKLOAD, params, batch, key, run, layout.microbatches)[0]

    losses, gradient = [], None
    for _, batch in zip(range(3), batches, strict=False):
        gradient = gradient or jax.device_get(first_gradient(state.params, batch))
        state, metrics = train_step(state, batch)
        losses.append(float(metrics["loss"]))
    return losses, gradient, state


@pytest.fixture(scope="module")
def adamw():
    return optimizers.adamw(schedules.constant_schedule(1e-2))


@pytest.fixture(scope="module")
def one_device(adamw):
    return three_steps(Layout(data=1), adamw)


def assert_same(actual, expected):
    (losses, gradient, _), (expected_losses, expected_gradient, _) = actual, expected
    np.testing.assert_allclose(losses, expected_losses, rtol=1e-5)
    for path, leaf in jax.tree_util.tree_leaves_with_path(expected_gradient):
        other = gradient
        for key in path:
            other = other[key.key]
        difference = np.linalg.norm(other - leaf) / np.linalg.norm(leaf)
        assert difference <= 1e-5, f"{jax.tree_util.keystr(path)}: {difference:.1e}"


@pytest.mark.parametrize("name", LAYOUTS)
def test_layout_equals_one_device(name, adamw, one_device):
    assert_same(three_steps(LAYOUTS[name], adamw), one_device)


def test_the_losses_are_worth_comparing(one_device):
    losses, gradient, _ = one_device
    assert min(abs(losses[0] - losses[1]), abs(losses[1] - losses[2])) > 1e-3
    assert all(np.linalg.norm(leaf) > 0 for leaf in jax.tree.leaves(gradient))


def test_fsdp_stores_an_eighth_of_every_matrix(adamw):
    mesh = make_mesh(Layout(data=1, fsdp=8))
    state = step.abstract_state(WORKLOAD, adamw, mesh)
    for tree in (state.params, state.opt_state):
        for leaf in jax.tree.leaves(tree):
            if leaf.ndim > 2:
                assert math.prod(leaf.sharding.shard_shape(leaf.shape)) * 8 == leaf.size
