"""Every layout against one device: losses of three optimizer steps, and each gradient of the first."""

import dataclasses
import math

import jax
import numpy as np
import optax
import pytest

from data_pipelines.text.synthetic import SyntheticTokens
from pangu_jax.models.placement import OneDevice
from pangu_jax.parallel import feed, stage
from pangu_jax.parallel import layout as layouts
from pangu_jax.parallel.layout import Layout
from pangu_jax.parallel.mesh import make_mesh
from pangu_jax.training import gradients, optimizers, schedules, step
from pangu_jax.workloads import RunContext, Variables
from pangu_jax.workloads.language import LanguageModel
from pangu_jax.workloads.language.model.encoder_decoder import EncoderDecoderConfig

BATCH = 16
WORKLOAD = LanguageModel(
    EncoderDecoderConfig(
        vocab_size=64,
        d_model=32,
        d_ff=64,
        heads=4,
        encoder_layers=4,
        decoder_layers=4,
        position="relative",
        dropout=0.1,
        loss_chunks=2,
    ),
    SyntheticTokens(64, encoder_length=12, decoder_length=8),
)
FAST = {
    "data 8": Layout(data=8),
    "fsdp 8": Layout(data=1, fsdp=8),
    "model 4 x data 2": Layout(model=4, data=2),
    "data 2 x fsdp 2 x model 2": Layout(data=2, fsdp=2, model=2),
    "fsdp 8, weights gathered once": Layout(data=1, fsdp=8, zero=1),
    "stage 4 x data 2, gpipe": Layout(stage=4, data=2, schedule="gpipe", microbatches=4),
    "stage 2 x model 2 x data 2, circular": Layout(
        stage=2, model=2, data=2, schedule="circular", repeats=2, microbatches=4, remat="dots"
    ),
    "stage 4 x fsdp 2, 1f1b": Layout(stage=4, data=1, fsdp=2, schedule="1f1b", microbatches=8),
    "sequence 4 x data 2": Layout(sequence=4, data=2),
    "fsdp 2 x model 4, accumulated": Layout(data=1, fsdp=2, model=4, microbatches=2),
}
PIPELINED = {name: layout for name, layout in FAST.items() if layout.stage > 1}
OTHERS = {
    "stage 2 x fsdp 4, gpipe, 2 rounds": Layout(
        stage=2, data=1, fsdp=4, schedule="gpipe", repeats=2, microbatches=4, zero=1, remat="full"
    ),
    "stage 2 x model 2 x fsdp 2, circular, 2 rounds": Layout(
        stage=2, model=2, data=1, fsdp=2, schedule="circular", repeats=4, microbatches=2, remat="full"
    ),
    "stage 2 x model 2 x fsdp 2, 1f1b, 2 rounds": Layout(
        stage=2, model=2, data=1, fsdp=2, schedule="1f1b", repeats=4, microbatches=4, zero=1
    ),
    "stage 2 x sequence 2 x data 2, gpipe": Layout(
        stage=2, sequence=2, data=2, schedule="gpipe", microbatches=2
    ),
    "one stage, circular": Layout(data=8, schedule="circular", microbatches=2),
}


def manually(cases):
    return {name: dataclasses.replace(layout, partitioning="manual") for name, layout in cases.items()}


def three_steps(layout, optimizer, workload=WORKLOAD):
    """Losses of three steps, and the first gradient, on the first devices that the layout needs."""
    assert layouts.check(layout, BATCH, workload.dimensions()) == []
    mesh = make_mesh(layout, jax.devices()[: math.prod(layout.axis_sizes().values())])
    gradient = gradients.make_gradients(workload, layout, mesh, RunContext(OneDevice(), layout.remat), BATCH)
    shardings = jax.tree.map(lambda leaf: leaf.sharding, step.abstract_state(workload, optimizer, mesh))

    axes = workload.logical_axes().params
    transformation = optax.with_extra_args_support(optimizer.transformation)

    def advance(state, batch):
        keys = step.example_keys(jax.random.key(0), state.step, BATCH)
        grads, sums = gradient(Variables(state.params), batch, keys)
        updates, opt_state = transformation.update(grads, state.opt_state, state.params, axes=axes)
        params = optax.apply_updates(state.params, updates)
        return step.TrainState(state.step + 1, params, opt_state), sums.loss / sums.weight, grads

    advance = jax.jit(advance, out_shardings=(shardings, None, None))
    state = step.init_state(workload, optimizer, mesh, 0)
    losses, first = [], None
    for _, batch in zip(
        range(3), feed.batches(workload.train_source(BATCH, 0), mesh, BATCH, 0), strict=False
    ):
        state, loss, grads = advance(state, batch)
        first = first or jax.device_get(grads)
        losses.append(float(loss))
    return losses, first


@pytest.fixture(scope="module")
def adamw():
    return optimizers.adamw(schedules.constant_schedule(1e-2))


@pytest.fixture(scope="module")
def one_device(adamw):
    return three_steps(Layout(data=1), adamw)


def assert_same(actual, expected):
    (losses, gradient), (expected_losses, expected_gradient) = actual, expected
    np.testing.assert_allclose(losses, expected_losses, rtol=1e-5)
    furthest = 0.0
    for path, leaf in jax.tree_util.tree_leaves_with_path(expected_gradient):
        other = gradient
        for key in path:
            other = other[key.key]
        difference = np.linalg.norm(other - leaf) / np.linalg.norm(leaf)
        assert difference <= 1e-5, f"{jax.tree_util.keystr(path)}: {difference:.1e}"
        furthest = max(furthest, float(difference))
    return furthest


@pytest.mark.parametrize("name", FAST)
def test_partitioned_by_the_compiler(name, adamw, one_device):
    assert_same(three_steps(FAST[name], adamw), one_device)


@pytest.mark.parametrize("name", FAST)
def test_partitioned_by_hand(name, adamw, one_device):
    assert_same(three_steps(manually(FAST)[name], adamw), one_device)


def test_two_streams(adamw, one_device):
    layout = Layout(data=2, fsdp=2, model=2, streams=2, remat="dots", partitioning="manual")
    assert_same(three_steps(layout, adamw), one_device)


@pytest.mark.prove
def test_four_streams(adamw, one_device, proof):
    layout = Layout(data=1, fsdp=2, model=4, streams=4, remat="dots", partitioning="manual")
    proof("largest difference of a gradient", assert_same(three_steps(layout, adamw), one_device))


@pytest.mark.prove
@pytest.mark.parametrize("partitioning", ["auto", "manual"])
@pytest.mark.parametrize("name", OTHERS)
def test_more_layouts(name, partitioning, adamw, one_device, proof):
    layout = dataclasses.replace(OTHERS[name], partitioning=partitioning)
    proof("largest difference of a gradient", assert_same(three_steps(layout, adamw), one_device))


@pytest.fixture(scope="module")
def muon():
    return optimizers.muon(schedules.constant_schedule(1e-2))


@pytest.fixture(scope="module")
def muon_on_one_device(muon):
    return three_steps(Layout(data=1), muon)


@pytest.mark.prove
@pytest.mark.parametrize(
    "name", ["fsdp 8", "model 4 x data 2", "fsdp 8, weights gathered once", "stage 4 x fsdp 2, 1f1b"]
)
def test_muon_of_matrices_in_shards(name, muon, muon_on_one_device, proof):
    proof("largest difference of a gradient", assert_same(three_steps(FAST[name], muon), muon_on_one_device))


@pytest.mark.parametrize("name", PIPELINED)
def test_nothing_leaks_from_a_bubble(name, adamw, one_device, monkeypatch):
    monkeypatch.setattr(stage, "BUBBLE", math.nan)
    assert_same(three_steps(manually(FAST)[name], adamw), one_device)


def test_the_losses_are_worth_comparing(one_device):
    losses, gradient = one_device
    assert min(abs(losses[0] - losses[1]), abs(losses[1] - losses[2])) > 1e-3
    assert all(np.linalg.norm(leaf) > 0 for leaf in jax.tree.leaves(gradient))


@pytest.mark.parametrize("partitioning", ["auto", "manual"])
def test_the_train_step_and_validation_are_made_of_these_gradients(partitioning, adamw, one_device):
    layout = Layout(stage=2, data=2, fsdp=2, schedule="gpipe", microbatches=2, partitioning=partitioning)
    mesh, run = make_mesh(layout), RunContext(OneDevice(), "dots")
    state = step.init_state(WORKLOAD, adamw, mesh, 0)
    batch = next(feed.batches(WORKLOAD.train_source(BATCH, 0), mesh, BATCH, 0))
    sums = step.make_eval_step(WORKLOAD, run, layout, mesh, BATCH)(Variables(state.params), batch)
    train_step = step.make_train_step(WORKLOAD, adamw, run, layout, mesh, batch_size=BATCH, seed=0)
    _, metrics = train_step(state, batch)
    assert float(metrics["loss"]) == pytest.approx(one_device[0][0], rel=1e-5)
    without_dropout = one_device_loss_without_dropout(adamw)
    assert float(sums.loss / sums.weight) == pytest.approx(without_dropout, rel=1e-5)


def one_device_loss_without_dropout(adamw):
    params = step.init_state(WORKLOAD, adamw, make_mesh(Layout(), jax.devices()[:1]), 0).params
    batch = WORKLOAD.train_source(BATCH, 0).batch(0)
    sums = jax.jit(lambda p: WORKLOAD.loss(Variables(p), batch, None, RunContext(OneDevice())))(
        jax.device_get(params)
    )
    return float(sums.loss / sums.weight)


def test_fsdp_stores_an_eighth_of_every_matrix(adamw):
    mesh = make_mesh(Layout(data=1, fsdp=8))
    state = step.abstract_state(WORKLOAD, adamw, mesh)
    for tree in (state.params, state.opt_state):
        for leaf in jax.tree.leaves(tree):
            if leaf.ndim > 2:
                assert math.prod(leaf.sharding.shard_shape(leaf.shape)) * 8 == leaf.size


def test_what_1f1b_holds_does_not_grow_with_microbatches(adamw):
    """Compiled temporary memory at 64 microbatches of one size is that at 8; gpipe's grows."""
    # wide enough that activations, not the token ids of a larger batch, are what counts
    wide = LanguageModel(dataclasses.replace(WORKLOAD.model, d_model=256, d_ff=256), WORKLOAD.data)

    def held(schedule, microbatches):
        layout = Layout(stage=4, data=1, schedule=schedule, microbatches=microbatches, remat="full")
        mesh = make_mesh(layout, jax.devices()[:4])
        batch_size = microbatches * 2
        gradient = gradients.make_gradients(wide, layout, mesh, RunContext(OneDevice(), "full"), batch_size)
        params, batch = step.abstract_state(wide, adamw, mesh).params, wide.batch_shapes(batch_size)
        compiled = jax.jit(lambda p, b: gradient(Variables(p), b, None)).lower(params, batch).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    few, many = held("1f1b", 8), held("1f1b", 64)
    assert many <= 1.05 * few
    assert held("gpipe", 64) > 1.5 * held("gpipe", 8)
