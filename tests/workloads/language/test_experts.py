"""A decoder with experts on every kind of layout against one device: losses, gradients, loads and state."""

import dataclasses
import functools
import itertools
import math

import jax
import numpy as np
import optax
import pytest

from data_pipelines.text.synthetic import SyntheticTokens
from pangu_jax.models.experts import ExpertsConfig
from pangu_jax.models.placement import OneDevice
from pangu_jax.parallel import feed
from pangu_jax.parallel import layout as layouts
from pangu_jax.parallel.layout import Layout
from pangu_jax.parallel.mesh import make_mesh
from pangu_jax.training import gradients, optimizers, schedules, step
from pangu_jax.workloads import RunContext, Variables
from pangu_jax.workloads.language import LanguageModel
from pangu_jax.workloads.language.model.decoder import DecoderConfig

BATCH = 16
GROUPED = ExpertsConfig(8, 16, 4, "grouped", shared_d_ff=16, balance=0.05)
SIGMOID = ExpertsConfig(
    8, 16, 3, "sigmoid", factor=2.5, balance=0.05, balance_over="sequence", bias_speed=0.01
)
DECODER = DecoderConfig(
    vocab_size=64,
    d_model=32,
    d_ff=48,
    heads=4,
    kv_heads=2,
    layers=5,
    dense_layers=1,
    experts=GROUPED,
    biases=True,
)


def workload(experts=GROUPED, **changes):
    model = dataclasses.replace(DECODER, experts=experts, **changes)
    return LanguageModel(model, SyntheticTokens(64, encoder_length=0, decoder_length=12))


LAYOUTS = {
    "data 2 x expert 4": Layout(data=2, expert=4),
    "data 2 x expert 2 x model 2": Layout(data=2, expert=2, model=2),
    "fsdp 2 x expert 4, accumulated": Layout(data=1, fsdp=2, expert=4, microbatches=2),
    "stage 2 x expert 2 x data 2, gpipe": Layout(stage=2, data=2, expert=2, schedule="gpipe", microbatches=2),
    "stage 2 x expert 4, circular": Layout(
        stage=2, data=1, expert=4, schedule="circular", repeats=2, microbatches=4, remat="full"
    ),
    "stage 2 x expert 2 x fsdp 2, 1f1b": Layout(
        stage=2, data=1, expert=2, fsdp=2, schedule="1f1b", microbatches=4
    ),
    "expert 2 x sequence 2 x data 2": Layout(expert=2, sequence=2, data=2, remat="dots"),
    "fsdp 4 x expert 2, weights gathered once": Layout(data=1, fsdp=4, expert=2, zero=1),
}
ROUTERS = {"grouped": GROUPED, "sigmoid": SIGMOID}
EVERY = list(itertools.product(ROUTERS, LAYOUTS, ("auto", "manual")))
FAST = [
    ("grouped", "data 2 x expert 4", "auto"),
    ("grouped", "data 2 x expert 2 x model 2", "manual"),
    ("grouped", "stage 2 x expert 2 x data 2, gpipe", "manual"),
    ("sigmoid", "data 2 x expert 2 x model 2", "auto"),
    ("sigmoid", "fsdp 2 x expert 4, accumulated", "manual"),
]


def three_steps(layout, workload):
    """Losses of three steps, the first gradient, and the state of routers after them."""
    assert layouts.check(layout, BATCH, workload.dimensions()) == []
    mesh = make_mesh(layout, jax.devices()[: math.prod(layout.axis_sizes().values())])
    # The choice of experts has steps: a rounding error that AdamW makes a step of 1e-2 of would be seen.
    optimizer = optimizers.adamw(schedules.constant_schedule(1e-2), epsilon=1e-3)
    gradient = gradients.make_gradients(workload, layout, mesh, RunContext(OneDevice(), layout.remat), BATCH)
    shardings = jax.tree.map(lambda leaf: leaf.sharding, step.abstract_state(workload, optimizer, mesh))

    def advance(state, batch):
        grads, sums = gradient(Variables(state.params, state.extra), batch, None)
        updates, opt_state = optimizer.transformation.update(grads, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        extra = workload.after_step(Variables(params, state.extra), sums.updates)
        metrics = {"loss": sums.loss / sums.weight, **{name: a / b for name, (a, b) in sums.metrics.items()}}
        return step.TrainState(state.step + 1, params, opt_state, extra), metrics, grads

    advance = jax.jit(advance, out_shardings=(shardings, None, None))
    state, found, first = step.init_state(workload, optimizer, mesh, 0), [], None
    batches = feed.batches(workload.train_source(BATCH, 0), mesh, BATCH, 0)
    for _, batch in zip(range(3), batches, strict=False):
        state, metrics, grads = advance(state, batch)
        first = first or jax.device_get(grads)
        found.append(jax.tree.map(float, metrics))
    return found, first, jax.device_get(state.extra)


@functools.cache
def one_device(router):
    """A workload, and its steps on one device."""
    made = workload(ROUTERS[router])
    return made, three_steps(Layout(data=1), made)


def assert_same(actual, expected):
    (metrics, gradient, state), (expected_metrics, expected_gradient, expected_state) = actual, expected
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), metrics, expected_metrics)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), state, expected_state)

    def close(path, a, b):
        difference = np.linalg.norm(a - b) / max(np.linalg.norm(b), 1e-3)
        assert difference <= 1e-5, f"{jax.tree_util.keystr(path)}: {difference:.1e}"

    jax.tree_util.tree_map_with_path(close, gradient, expected_gradient)


@pytest.mark.parametrize(("router", "name", "partitioning"), FAST)
def test_layouts(router, name, partitioning):
    made, expected = one_device(router)
    assert_same(three_steps(dataclasses.replace(LAYOUTS[name], partitioning=partitioning), made), expected)


@pytest.mark.prove
@pytest.mark.parametrize("case", [case for case in EVERY if case not in FAST], ids=", ".join)
def test_more_layouts(case):
    test_layouts(*case)


@pytest.mark.parametrize("router", ["grouped", "sigmoid"])
def test_the_steps_are_worth_comparing(router):
    """Losses move, loads are uneven and change, and every weight but a bias of the choice has a gradient."""
    _, (metrics, gradient, state) = one_device(router)
    losses = [found["loss"] for found in metrics]
    assert min(abs(a - b) for a, b in itertools.pairwise(losses)) > 1e-3
    assert (
        metrics[0]["expert_load_max"] == 1 / 8 < metrics[1]["expert_load_max"] < metrics[2]["expert_load_max"]
    )
    still = [p for p, g in jax.tree_util.tree_leaves_with_path(gradient) if not np.linalg.norm(g)]
    assert all(path[-1].key == "router_bias" for path in still)
    assert np.ptp(state["experts"]["fraction"]) > 0.1
